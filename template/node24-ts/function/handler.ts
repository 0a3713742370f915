import type { Handler } from '../template/node24-ts/function.ts';

/** A new function: it answers with what it got. template/node24-ts/function.ts says what else it may do. */
const handler: Handler = ({ method, path, body }) => ({ method, path, body });

export default handler;
