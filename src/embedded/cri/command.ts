/** `embedded cri`: the container runtime of the embedded node as a process. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ImageServiceService, RuntimeServiceService } from '../../sources/cri/generated/runtime.ts';
import { logTo } from '../log.ts';
import { followPowerLine, NODE_MARK } from '../node/processes.ts';
import { parseImageTable } from './images.ts';
import { openRecords } from './records.ts';
import { criServices } from './server.ts';

/** Serves until it is killed; containers go on running without it. */
export async function criCommand(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      socket: { type: 'string' },
      'state-dir': { type: 'string' },
      images: { type: 'string' },
      'power-line': { type: 'boolean', default: false },
    },
  });
  const socket = required(values.socket, '--socket');
  const stateDir = required(values['state-dir'], '--state-dir');
  const images = required(values.images, '--images');
  if (values['power-line']) followPowerLine(process.env[NODE_MARK]);

  const services = criServices(openRecords(stateDir), parseImageTable(readFileSync(images, 'utf8'), images));
  const server = new Server({ 'grpc.max_receive_message_length': 16 * 1024 * 1024 });
  server.addService(RuntimeServiceService, services.runtimeService);
  server.addService(ImageServiceService, services.imageService);
  mkdirSync(dirname(socket), { recursive: true });
  // A killed runtime leaves its socket behind.
  rmSync(socket, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error)));
  });
  logTo('cri')(`serving on ${socket}`);
  process.on('SIGTERM', () => process.exit(0));
}

function required(value: string | undefined, flag: string): string {
  if (value === undefined) throw new Error(`${flag} is required`);
  return value;
}
