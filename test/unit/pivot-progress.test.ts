/** A pivot's progress, on a terminal and elsewhere. */
import { describe, expect, it } from 'vitest';
import { progressOn } from '../../src/pivot/progress.ts';
import type { Move } from '../../src/pivot/steps.ts';

const MOVE: Move = { step: { kind: 'assign', component: 'kube-scheduler' }, index: 10, direction: 'there' };

function written(live: boolean, tell: (progress: ReturnType<typeof progressOn>) => void): string {
  const texts: string[] = [];
  tell(
    progressOn({
      live,
      columns: () => 60,
      out: {
        write: (text: unknown) => {
          texts.push(String(text));
          return true;
        },
      },
    }),
  );
  return texts.join('');
}

describe('progress in plain lines', () => {
  it('says what is waited for when that changes, and now and then', () => {
    const text = written(false, (progress) => {
      progress.moving(MOVE, false);
      for (let ms = 0; ms <= 20_000; ms += 500) progress.waiting('the pod to be Ready', ms);
      progress.waiting('it to stay healthy for 10 s', 20_500);
      progress.done(MOVE, 31_000);
    });
    expect(text).toBe(`[11/12] kube-scheduler: the node asks for its pod
        waiting for the pod to be Ready, 0 s
        waiting for the pod to be Ready, 15 s
        waiting for it to stay healthy for 10 s, 21 s
        healthy after 31 s
`);
  });

  it('says what failed and that it is taken back', () => {
    const text = written(false, (progress) => {
      progress.failed(MOVE, 'not within 300 s');
      progress.moving({ ...MOVE, direction: 'back' }, true);
    });
    expect(text).toBe("        failed: not within 300 s\n[11/12] taken back: kube-scheduler: the node's pod leaves\n");
  });
});

describe('progress on a terminal', () => {
  it('is one line that lives, never longer than the terminal, and gone when it is over', () => {
    const text = written(true, (progress) => {
      progress.waiting(`${'x'.repeat(100)}`, 0);
      progress.waiting('the pod', 500);
      progress.done(MOVE, 1000);
    });
    expect(text).not.toContain('x'.repeat(60));
    expect(text.split('\n')).toHaveLength(2);
    expect(text.split('\r\x1b[K').at(-1)).toBe('        healthy after 1 s\n');
  });
});
