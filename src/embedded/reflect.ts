/**
 * The metadata functions of Reflect, as far as @peculiar/x509 needs them: its container library refuses to load without them, and what it asks
 * for is always absent. Imported before it, for this effect alone.
 */
const absent = {
  getMetadata: () => undefined,
  getOwnMetadata: () => undefined,
  hasMetadata: () => false,
  hasOwnMetadata: () => false,
  defineMetadata: () => {},
};
for (const [name, value] of Object.entries(absent)) {
  if (!(name in Reflect)) Object.defineProperty(Reflect, name, { value, configurable: true, writable: true });
}
