/** Waits until the condition gives something other than undefined or false; an error of the condition counts as "not yet". Throws after `timeoutMs`. */
export async function until<T>(condition: () => T | Promise<T>, timeoutMs = 15_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${condition}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}
