/** Keys come from the cluster: `constructor` or `__proto__` must not find something of JavaScript's. */
export function own(map: Readonly<Record<string, string>> | undefined, key: string): string | undefined {
  return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
}
