import type { BuildRequestInput } from '#lib/api/request.ts';

/** The parts of a laboratory that its requests name. */
export interface Surroundings {
  readonly baseUrl: string;
  /** Default: cloud. */
  readonly imageType?: 'cloud' | 'cd' | 'touch';
  readonly series: string;
  /** Name of the exchange that gets the events. */
  readonly exchange: string;
}

/** Makes valid requests, each with a new ticket, for the base image and the PPA of a laboratory. */
export function requestsFor({ baseUrl, imageType = 'cloud', series, exchange }: Surroundings) {
  let tickets = 0;
  return (changes: Partial<BuildRequestInput> = {}): BuildRequestInput => ({
    ticket_id: `T-${++tickets}`,
    cancel_url: null,
    base_image: { image_type: imageType, url_list: [baseUrl], series },
    ppa_list: ['ppa:project/ppaname'],
    package_list: ['libfoo'],
    progress_trigger: exchange,
    ...changes,
  });
}
