import { parseBuildRequest } from '#lib/api/request.ts';
import type { PpaRecipe } from '../lab/servers/launchpad.ts';

/**
 * The job for both tools: one PPA with a package of its own, and three packages of the archive that bring a dozen more.
 */

export const ppaName = { owner: 'bench', name: 'ppa' } as const;
export const packages = ['hello-ppa', 'nginx', 'jq', 'git'] as const;

export function benchPpa(series: string): PpaRecipe {
  return {
    ...ppaName,
    series: [series],
    packages: [{ name: 'hello-ppa', files: { '/usr/bin/hello-ppa': '#!/bin/sh\necho hello\n' } }],
  };
}

export function benchRequest(imageUrl: string, series: string) {
  return parseBuildRequest({
    ticket_id: 'bench',
    base_image: { image_type: 'cloud', url_list: [imageUrl], series },
    ppa_list: [`ppa:${ppaName.owner}/${ppaName.name}`],
    package_list: [...packages],
    progress_trigger: 'bench',
  });
}
