/**
 * Node's HTTP modules, when they are needed. An import of them as ES modules makes Node evaluate all they export, undici's WebSocket with it: that is
 * 25 ms of a command that asks nobody anything, and nearly half of its start.
 */
export const http = () => process.getBuiltinModule('node:http');
export const https = () => process.getBuiltinModule('node:https');
