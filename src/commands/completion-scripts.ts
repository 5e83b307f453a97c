/** Completion scripts for bash, zsh and fish from a tree of commands. Pure. */
import type { Command, Option } from 'commander';

export type Shell = 'bash' | 'zsh' | 'fish';

/** What a value is: one of these words, a path, a directory, or something that no shell knows. */
type Value = readonly string[] | 'file' | 'directory' | 'anything';

interface Flag {
  /** `--output`, `-o`. */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined for a flag without a value. */
  readonly value: Value | undefined;
}

export interface CommandSpec {
  /** `kubelet-lock wait`; empty for the program. */
  readonly path: string;
  readonly description: string;
  readonly flags: readonly Flag[];
  /** Words that the first argument may be. */
  readonly words: readonly string[];
  readonly children: readonly CommandSpec[];
}

export function specOf(command: Command, path = ''): CommandSpec {
  const visible = command
    .createHelp()
    .visibleCommands(command)
    .filter((child) => child.name() !== 'help');
  return {
    path,
    description: command.description(),
    flags: command.createHelp().visibleOptions(command).map(flagOf),
    words: command.registeredArguments[0]?.argChoices ?? [],
    children: visible.map((child) => specOf(child, `${path} ${child.name()}`.trim())),
  };
}

function flagOf(option: Option): Flag {
  const { long, short, description, flags, argChoices } = option;
  const names = [long, short].filter((name) => typeof name === 'string');
  const takes = /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1];
  if (takes === undefined) return { names, description, value: undefined };
  const value = argChoices ?? (/\bfile$/.test(takes) ? 'file' : /\bdir$/.test(takes) ? 'directory' : 'anything');
  return { names, description, value };
}

export function render(shell: Shell, spec: CommandSpec): string {
  return { bash, zsh, fish }[shell](spec);
}

const all = (spec: CommandSpec): CommandSpec[] => [spec, ...spec.children.flatMap(all)];
const last = (path: string): string => path.slice(path.lastIndexOf(' ') + 1);
/** As one word of any of the three shells: our own names and texts hold no quote that fish would read otherwise. */
const quoted = (text: string): string => `'${text.replaceAll('\n', ' ').replaceAll("'", '’')}'`;

/** In bash a word ends at `=`, so `--output=js` is three. */
function bash(root: CommandSpec): string {
  const commands = all(root);
  const next = commands.flatMap(({ path, children }) =>
    children.map((child) => `      ${quoted(`${path} ${last(child.path)}`.trim())}) path=${quoted(child.path)} ;;`),
  );
  const values = commands.flatMap(({ path, flags }) =>
    flags.flatMap(({ names, value }) =>
      value === undefined ? [] : [`    ${names.map((name) => quoted(`${path} ${name}`)).join('|')}) ${bashValue(value)}; return ;;`],
    ),
  );
  const words = commands.map(({ path, flags, words: own, children }) => {
    const known = flags.flatMap(({ names }) => names).join(' ');
    return `    ${quoted(path)}) flags=${quoted(known)} words=${quoted([...children.map((child) => last(child.path)), ...own].join(' '))} ;;`;
  });
  return `# bash completion for checkpointer
_checkpointer() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path='' flags='' words='' i
  if [[ $cur == '=' ]]; then cur=''
  elif [[ $prev == '=' ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${path:+$path }\${COMP_WORDS[i]}" in
${next.join('\n')}
    esac
  done
  COMPREPLY=()
  case "$path $prev" in
${values.join('\n')}
  esac
  case "$path" in
${words.join('\n')}
  esac
  if [[ $cur == -* ]]; then words=$flags; fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _checkpointer checkpointer
`;
}

function bashValue(value: Value): string {
  if (value === 'anything') return ':';
  if (value === 'file') return 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"))';
  if (value === 'directory') return 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur"))';
  return `COMPREPLY=($(compgen -W ${quoted(value.join(' '))} -- "$cur"))`;
}

/** The first character that is special in `_arguments` ends a name or a text, so those in texts are escaped. */
function zsh(root: CommandSpec): string {
  const functions = all(root).map((spec) => {
    const name = zshName(spec.path);
    const flags = spec.flags.map(zshFlag);
    if (spec.children.length === 0) {
      const words = spec.words.length === 0 ? [] : [`    ${quoted(`1: :(${spec.words.join(' ')})`)}`];
      return `${name}() {\n  _arguments -s ${[...flags, ...words].map((line) => `\\\n${line} `).join('')}\n}`;
    }
    const described = spec.children.map((child) => `    ${quoted(`${last(child.path)}:${child.description}`)}`);
    const cases = spec.children.map((child) => `    ${last(child.path)}) ${zshName(child.path)} ;;`);
    return `${name}() {
  local state line
  local -a commands
  commands=(
${described.join('\n')}
  )
  _arguments -C ${flags.map((line) => `\\\n${line} `).join('')}\\
    '1: :->command' '*:: :->rest'
  case $state in
  command) _describe command commands ;;
  rest) case $line[1] in
${cases.join('\n')}
    esac ;;
  esac
}`;
  });
  return `#compdef checkpointer
# zsh completion for checkpointer
${functions.join('\n')}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _checkpointer "$@"; else compdef _checkpointer checkpointer; fi
`;
}

const zshName = (path: string): string => `_checkpointer${path === '' ? '' : `_${path.replaceAll(/[ -]/g, '_')}`}`;

function zshFlag({ names, description, value }: Flag): string {
  const text = `[${description.replaceAll(/[[\]\\:]/g, '\\$&')}]`;
  const lines = names.map((name) =>
    quoted(`(${names.join(' ')})${name}${value !== undefined && name.startsWith('--') ? '=' : ''}${text}${zshValue(value)}`),
  );
  return `    ${lines.join(' ')}`;
}

function zshValue(value: Value | undefined): string {
  if (value === undefined) return '';
  if (value === 'file') return ':file:_files';
  if (value === 'directory') return ':directory:_files -/';
  return value === 'anything' ? ':value: ' : `:value:(${value.join(' ')})`;
}

function fish(root: CommandSpec): string {
  const lines = all(root).flatMap((spec) => {
    const where = fishCondition(spec);
    const flags = spec.flags.map(({ names, description, value }) => {
      const named = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`)).join(' ');
      return `complete -c checkpointer -n ${where} ${named} -d ${quoted(description)}${fishValue(value)}`;
    });
    const children = spec.children.map(
      (child) => `complete -c checkpointer -n ${where} -a ${quoted(last(child.path))} -d ${quoted(child.description)}`,
    );
    const words = spec.words.length === 0 ? [] : [`complete -c checkpointer -n ${where} -a ${quoted(spec.words.join(' '))}`];
    return [...children, ...flags, ...words];
  });
  return `# fish completion for checkpointer\ncomplete -c checkpointer -f\n${lines.join('\n')}\n`;
}

function fishCondition({ path, children }: CommandSpec): string {
  const seen = path === '' ? [] : path.split(' ').map((name) => `__fish_seen_subcommand_from ${name}`);
  const below = children.length === 0 ? [] : [`not __fish_seen_subcommand_from ${children.map((child) => last(child.path)).join(' ')}`];
  return quoted([...seen, ...below].join('; and ') || 'true');
}

function fishValue(value: Value | undefined): string {
  if (value === undefined) return '';
  if (value === 'file') return ' -r -F';
  if (value === 'directory') return " -x -a '(__fish_complete_directories)'";
  return value === 'anything' ? ' -x' : ` -x -a ${quoted(value.join(' '))}`;
}
