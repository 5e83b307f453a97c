/** What the shells complete, asked of the shells themselves. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

let dir: string;
const script = (shell: Shell) => join(dir, `completion.${shell}`);

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'completion-'));
  for (const shell of SHELLS) writeFileSync(script(shell), execFileSync(process.execPath, [CLI, 'completion', shell]));
  mkdirSync(join(dir, 'here/store'), { recursive: true });
  for (const file of ['out.tar', 'stuff']) writeFileSync(join(dir, 'here', file), '');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, {
    encoding: 'utf8',
    cwd: join(dir, 'here'),
    env: { PATH: process.env['PATH'] ?? '', HOME: dir, TERM: 'dumb' },
    timeout: 20_000,
  });

/** zsh completes only at a terminal: it gets one (zpty), with its lists printed between marks. */
const ZPTY = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1= PS2= RPS1= ; unsetopt zle_bracketed_paste prompt_cr prompt_sp; stty -echo 2>/dev/null; autoload -Uz compinit; compinit -D -u; source $1"
zpty -w z 'compadd() { local -a got; builtin compadd -O got "$@"; print -rl -- "<"\${^got}">"; builtin compadd "$@"; }'
zpty -w z 'zstyle ":completion:*" list-prompt ""; LISTMAX=-1; done-now() { print -r -- "<<""done>>"; exit }; zle -N done-now; bindkey "^I" complete-word "^X" done-now; print -r -- "<<""ready>>"'
local line
while zpty -r z line; do [[ $line == *"<<ready>>"* ]] && break; done
zpty -w -n z "$2"$'\\t\\x18'
while zpty -r z line; do print -r -- "$line"; [[ $line == *"<<done>>"* ]] && break; done
`;

/** The words that are offered for the last word of a line. */
const ask: Record<Shell, (line: string) => string[]> = {
  bash: (line) => {
    // As readline splits it: at blanks, and at and around each "=".
    const words = line.replaceAll('=', ' = ').split(/ +/);
    if (line.endsWith('=')) words.pop();
    const set = `source ${script('bash')}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _checkpointer; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return run('bash', '--norc', '-c', set, 'bash', ...words)
      .split('\n')
      .filter((word) => word !== '');
  },
  zsh: (line) => {
    const offered = run('zsh', '-f', '-c', ZPTY, 'zsh', script('zsh'), line).matchAll(/(?<!<)<([^<>]+)>(?!>)/g);
    return [...new Set([...offered].map(([, word = '']) => word.replace(/=$/, '')))];
  },
  fish: (line) =>
    run('fish', '--no-config', '-c', `source ${script('fish')}; complete -C ${JSON.stringify(line)}`)
      .split('\n')
      .filter((word) => word !== '')
      .map((word) => (word.split('\t')[0] ?? '').replace(/^--[a-z-]+=(?=.)/, '')),
};

describe.each(SHELLS)('%s', (shell) => {
  const missing = skipLoudly(`completion in ${shell}`, findProgram(shell) === undefined ? `no ${shell}` : undefined);

  it.skipIf(missing)('completes commands, also those of commands', () => {
    expect(ask[shell]('checkpointer ins').sort()).toEqual(['inspect', 'install-host']);
    expect(ask[shell]('checkpointer kubelet-lock ').sort()).toEqual(['contend', 'status', 'wait']);
    expect(ask[shell]('checkpointer completion ').sort()).toEqual(['bash', 'fish', 'zsh']);
  });

  it.skipIf(missing)('completes the flags of the command, and of no other one', () => {
    expect(ask[shell]('checkpointer recover --bo')).toEqual(['--boot']);
    expect(ask[shell]('checkpointer inspect --bo')).toEqual([]);
    expect(ask[shell]('checkpointer kubelet-lock wait --fo')).toContain('--for');
    expect(ask[shell]('checkpointer run --boot-id-'), 'hidden').toEqual([]);
  });

  it.skipIf(missing)('completes values: choices, files, directories', () => {
    expect(ask[shell]('checkpointer inspect -o ').sort()).toEqual(['json', 'table', 'wide', 'yaml']);
    expect(ask[shell]('checkpointer inspect --output ').sort()).toEqual(['json', 'table', 'wide', 'yaml']);
    expect(ask[shell]('checkpointer inspect --output=j')).toEqual(['json']);
    expect(ask[shell]('checkpointer import -f o')).toEqual(['out.tar']);
    expect(ask[shell]('checkpointer verify --checkpoint-dir s').map((word) => word.replace(/\/$/, ''))).toEqual(['store']);
  });
});

it('another shell is bad input', () => {
  expect(() => execFileSync(process.execPath, [CLI, 'completion', 'tcsh'], { encoding: 'utf8', stdio: 'pipe' })).toThrow(
    /Allowed choices are bash, zsh, fish/,
  );
});
