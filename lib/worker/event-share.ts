/**
 * How much of the events stream one attempt at a build may fill: RabbitMQ drops the oldest events of all builds when
 * the stream is full. Bytes that an attempt does not use add up, to `burstBytes` at most.
 */
export interface EventShare {
  /** Takes the bytes of an event. The share may become negative: an event that has to be sent is never refused. */
  spend(bytes: number): void;
  /** Milliseconds until `bytes` will be there; 0 where they are. */
  waitMs(bytes: number): number;
  /** True once more than half of the share is used up. */
  readonly low: boolean;
}

export interface EventShareOptions {
  readonly burstBytes: number;
  readonly bytesPerSecond: number;
}

/**
 * A build of some minutes stays below the burst. The rate is that of an event of 500 bytes every other second, and adds
 * up to 1.8 MiB in the two hours that a build may take.
 */
export const defaultShare = { burstBytes: 512 * 1024, bytesPerSecond: 256 } as const satisfies EventShareOptions;

/** Makes the share of one attempt, with nothing used. */
export function createEventShare({ burstBytes, bytesPerSecond }: EventShareOptions): EventShare {
  let left = burstBytes;
  let countedAt = performance.now();

  const refill = () => {
    const now = performance.now();
    left = Math.min(burstBytes, left + ((now - countedAt) / 1000) * bytesPerSecond);
    countedAt = now;
  };

  return {
    spend(bytes) {
      refill();
      left -= bytes;
    },
    waitMs(bytes) {
      refill();
      return Math.max(0, Math.ceil(((bytes - left) / bytesPerSecond) * 1000));
    },
    get low() {
      refill();
      return left < burstBytes / 2;
    },
  };
}
