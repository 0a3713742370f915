import { parseBuildRequest } from '#lib/api/request.ts';
import type { PpaRecipe } from '../lab/servers/launchpad.ts';

/** The jobs for all tools: one PPA with a package of its own, and packages of the archive with what they depend on. */

export const ppaName = { owner: 'bench', name: 'ppa' } as const;
export const packages = {
  cloud: ['hello-ppa', 'nginx', 'jq', 'git'],
  cd: ['hello-ppa', 'nginx', 'curl'],
  touch: ['hello-ppa', 'jq', 'git'],
} as const;

export interface Job {
  readonly kind: keyof typeof packages;
  readonly imageUrl: string;
  readonly series: string;
  /**
   * `image`: the finished image of the same request may be taken. `packages`: only the installed packages that builds of
   * all callers share. Default: neither, all is done anew.
   */
  readonly reuse?: 'image' | 'packages';
}

export function benchPpa(series: string): PpaRecipe {
  return {
    ...ppaName,
    series: [series],
    packages: [{ name: 'hello-ppa', files: { '/usr/bin/hello-ppa': '#!/bin/sh\necho hello\n' } }],
  };
}

export function benchRequest({ kind, imageUrl, series, reuse }: Job) {
  return parseBuildRequest({
    ticket_id: 'bench',
    base_image: { image_type: kind, url_list: [imageUrl], series },
    ppa_list: [`ppa:${ppaName.owner}/${ppaName.name}`],
    package_list: [...packages[kind]],
    reuse: reuse !== undefined,
    progress_trigger: 'bench',
  });
}
