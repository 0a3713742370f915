import type { FolderOfBuilds } from '#lib/folders/settings.ts';
import type { ChosenGuest } from '#lib/guest/choose.ts';
import { readRoom } from '#lib/limits/space-usage.ts';
import type { Metrics } from '#lib/metrics/metrics.ts';

/** Shows the room on the worker's disks, looked up at each scrape, and how it opens images, as soon as it has chosen. */
export function showMachine(
  metrics: Metrics,
  folders: readonly FolderOfBuilds[],
  chosenGuest: () => ChosenGuest | null,
): void {
  metrics.gauge(
    {
      name: 'imagebuilder_disk_free_bytes',
      help: 'Room on the file system of a folder of builds (work, cache, store, temporary)',
      labels: ['folder'],
    },
    () =>
      Promise.all(folders.map(async ({ name, path }) => [{ folder: name }, (await readRoom(path)).freeBytes] as const)),
  );
  metrics.gauge(
    {
      name: 'imagebuilder_guest_info',
      help: 'How this worker opens images, once it has opened one; always 1',
      labels: ['guest', 'accelerator'],
    },
    () => {
      const chosen = chosenGuest();
      return chosen === null
        ? []
        : [[{ guest: chosen.guest.kind, accelerator: chosen.accelerator ?? 'none' }, 1] as const];
    },
  );
}
