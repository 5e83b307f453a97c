// Builds one minified bundle of the daemon, and beside it the embedded node, which the daemon's bundle does not carry.
import { rm } from 'node:fs/promises';
import { build } from 'esbuild';
import { bundleOptions, readVersion } from './bundle.ts';

const version = await readVersion();
const common = {
  format: 'esm',
  outdir: 'dist',
  // Bundled CommonJS packages call require() for Node's own modules; an ES module has none unless it makes one.
  banner: {
    js: "#!/usr/bin/env node\nimport { createRequire as __createRequire } from 'node:module';const require=__createRequire(import.meta.url);",
  },
} as const;

await rm('dist', { recursive: true, force: true });
await build({ ...bundleOptions(version), ...common, entryPoints: { checkpointer: 'src/cli.ts' } });
await build({ ...bundleOptions(version, 'gRPC'), ...common, entryPoints: { embedded: 'src/embedded/main.ts' } });
