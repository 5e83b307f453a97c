// Generates src/sources/cri/generated/runtime.ts from runtime.proto. Needs protoc (Debian: protobuf-compiler); the result is committed, so only
// a change of runtime.proto needs this.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const source = join(root, 'src/sources/cri');

const options = [
  'env=node',
  'outputServices=grpc-js',
  'esModuleInterop=true',
  // Type stripping accepts no enum: constants of the same name, and the union of their values as the type.
  'enumsAsLiterals=true',
  'unrecognizedEnum=true',
  // Nanoseconds since the epoch are beyond 2^53.
  'forceLong=bigint',
  'outputJsonMethods=false',
  'useExactTypes=false',
  'useOptionals=messages',
].join(',');

const { status, error } = spawnSync(
  'protoc',
  [
    `--plugin=protoc-gen-ts_proto=${join(root, 'node_modules/.bin/protoc-gen-ts_proto')}`,
    `--ts_proto_opt=${options}`,
    `--ts_proto_out=${join(source, 'generated')}`,
    `--proto_path=${source}`,
    'runtime.proto',
  ],
  { stdio: 'inherit' },
);
if (error !== undefined) {
  console.error(`protoc: ${error.message}; on Debian: apt-get install protobuf-compiler`);
  process.exitCode = 1;
} else process.exitCode = status ?? 1;
