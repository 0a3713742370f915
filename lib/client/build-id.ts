import { z } from 'zod';
import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';

const BuildId = z.uuid().toLowerCase();

/**
 * The id of a build as a person types it, in the API's spelling. `place` is the name of the argument or option. Throws
 * `request.invalid`, with the way to find the id.
 */
export function requireBuildId(text: string, place: string): string {
  const { data } = BuildId.safeParse(text.trim());
  if (data !== undefined) return data;
  throw new ImageBuilderError(
    'request.invalid',
    `${place} must be the id of a build, such as 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55, not ${quoted(text)}; \`imagebuilder status\` lists the builds with their ids, and with --ticket-id those of a ticket`,
  );
}
