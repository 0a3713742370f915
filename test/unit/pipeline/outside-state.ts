import type { OutsideState } from '#lib/apt/outside/worker-apt.ts';

/** The state of an apt without any source, with a file and a status that are told apart from others. */
export const outsideState: OutsideState = {
  facts: { aptVersion: '2.6.1', architecture: 'amd64', foreignArchitectures: [] },
  files: new Map([['/key', Buffer.from('key')]]),
  apt: {
    ...{ configuration: [], sources: [], preferences: [], trusted: [], credentials: [] },
    ...{ status: Buffer.from('status'), extendedStates: Buffer.alloc(0), certificates: Buffer.alloc(0) },
  },
};
