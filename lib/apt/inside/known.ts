import type { ScriptRunner } from '../../guest/guest.ts';
import { indexFolder } from '../caches.ts';
import type { ImageFacts } from '../facts.ts';

/**
 * The folders of `openAptCaches`, which appear in these places of the image. An image's own apt may be set to others, where
 * lists and packages would stay in the image, or which are not there.
 */
const folders = `
Dir::State::lists "/var/lib/apt/lists/";
Dir::Cache "/var/cache/apt/";
Dir::Cache::archives "archives/";
Dir::Cache::pkgcache "${indexFolder}/pkgcache.bin";
Dir::Cache::srcpkgcache "${indexFolder}/srcpkgcache.bin";
`;

export type KnownArchitectures = Pick<ImageFacts, 'architecture' | 'foreignArchitectures' | 'aptArchitectures'>;

/**
 * A runner whose scripts of apt use the folders of the build, whatever folders the image's configuration names, and the
 * architectures that dpkg has named: unless they are set, every program of apt starts dpkg twice to ask for them.
 */
export function withKnown(runner: ScriptRunner, facts: KnownArchitectures): ScriptRunner {
  const known = folders + renderArchitectures(facts);
  return {
    run({ files = {}, ...script }) {
      const text = files['apt.conf'];
      const added = text === undefined ? {} : { 'apt.conf': `${text}${known}` };
      return runner.run({ ...script, files: { ...files, ...added } });
    },
  };
}

/** Nothing where the image sets them itself: a list that is set twice is both lists together. */
function renderArchitectures({ architecture, foreignArchitectures, aptArchitectures }: KnownArchitectures): string {
  if (aptArchitectures) return '';
  const names = [architecture, ...foreignArchitectures].map((name) => `"${name}";`);
  return `APT::Architectures { ${names.join(' ')} };\n`;
}
