/** Asks about every item, so many at a time; answers in the order of the items. */
export async function each<T, R>(items: readonly T[], atOnce: number, ask: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  const next = items.entries();
  const worker = async (): Promise<void> => {
    for (const [i, item] of next) answers[i] = await ask(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return answers;
}
