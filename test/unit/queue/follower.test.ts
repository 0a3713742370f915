import { EventEmitter, getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConfirmChannel } from 'amqplib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import type { BrokerConnection } from '#lib/queue/connection.ts';
import { followEvents } from '#lib/queue/follower.ts';

/** A channel that reads nothing, for as long as it is open. */
class QuietChannel extends EventEmitter {
  async prefetch() {}
  async consume() {}
  async close() {
    this.emit('close');
  }
}

test('a connection that comes back again and again leaves nothing behind in the follower', async () => {
  const signals: AbortSignal[] = [];
  const RealController = globalThis.AbortController;
  globalThis.AbortController = class extends RealController {
    constructor() {
      super();
      signals.push(this.signal);
    }
  };
  let channel = new QuietChannel();
  let opened = Promise.withResolvers<void>();
  const connection = {
    async openChannel() {
      channel = new QuietChannel();
      opened.resolve();
      return channel as unknown as ConfirmChannel;
    },
    publish: () => new Promise<void>(() => {}),
    reachable: () => ({ reachable: true }),
    setUpAgain: async () => {},
    usableSince: Date.now(),
    hasTried: true,
    async [Symbol.asyncDispose]() {},
  } satisfies BrokerConnection;
  const listeners = () => Math.max(...signals.map((signal) => getEventListeners(signal, 'abort').length));
  await using follower = followEvents(connection, {
    forgetAfterSeconds: 1,
    historyBytes: 2 ** 20,
    retentionBytes: 2 ** 26,
    refreshSpreadMs: 0,
    log: createLog({ write: () => {} }),
  });
  globalThis.AbortController = RealController;
  assert.ok(follower);
  const counts: number[] = [];
  for (let reconnect = 0; reconnect < 4; reconnect += 1) {
    await opened.promise;
    opened = Promise.withResolvers<void>();
    // The follower has begun to read when its listener is there.
    while (channel.listenerCount('close') === 0) await sleep(5);
    counts.push(listeners());
    await channel.close();
  }
  assert.equal(counts, [1, 1, 1, 1]);
});

test.run();
