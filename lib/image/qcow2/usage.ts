import { corrupt, unsupported } from './refusals.ts';

/** Records the use of each cluster of a qcow2 file, to find references that contradict each other. */
export interface Usage {
  /** Clusters of the file. */
  readonly clusters: number;
  /** Takes whole clusters for one use. Throws `image.corrupt` where another use has one of them. */
  takeWhole(what: string, offset: number, length: number): void;
  /**
   * Takes bytes of clusters that other compressed data may share. Throws `image.corrupt` where another use has them
   * whole.
   */
  takeShared(what: string, offset: number, length: number): void;
  /** How often a cluster is referred to; numbers above 65534 are given as 65534. */
  references(cluster: number): number;
}

const whole = 0xffff;
const mostCounted = 0xfffe;
/** 128 MiB of counts: a file of 4 TiB at the usual 64 KiB per cluster. */
const maximumClusters = 2 ** 26;

/** An empty record for a file. Throws `image.unsupported` where the file has too many clusters to keep one. */
export function createUsage(fileSizeBytes: number, clusterSizeBytes: number): Usage {
  const clusters = Math.ceil(fileSizeBytes / clusterSizeBytes);
  if (clusters > maximumClusters) {
    throw unsupported(
      `the qcow2 image of ${fileSizeBytes} bytes consists of clusters of only ${clusterSizeBytes} bytes; convert it with qemu-img convert -O qcow2`,
    );
  }
  const counts = new Uint16Array(clusters);
  const range = (offset: number, length: number) => ({
    first: Math.floor(offset / clusterSizeBytes),
    // A last, partial sector may reach beyond the end of the file; those bytes have no user.
    last: Math.min(clusters - 1, Math.floor((offset + length - 1) / clusterSizeBytes)),
  });
  const clash = (what: string, cluster: number) =>
    corrupt(`its ${what} lies on a cluster that has another use (byte ${cluster * clusterSizeBytes})`);
  return {
    clusters,
    takeWhole(what, offset, length) {
      const { first, last } = range(offset, length);
      for (let cluster = first; cluster <= last; cluster++) {
        if (counts[cluster] !== 0) throw clash(what, cluster);
        counts[cluster] = whole;
      }
    },
    takeShared(what, offset, length) {
      const { first, last } = range(offset, length);
      for (let cluster = first; cluster <= last; cluster++) {
        const count = counts[cluster] ?? 0;
        if (count === whole) throw clash(what, cluster);
        if (count < mostCounted) counts[cluster] = count + 1;
      }
    },
    references(cluster) {
      const count = counts[cluster] ?? 0;
      return count === whole ? 1 : count;
    },
  };
}
