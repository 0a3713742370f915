import type { ScriptRunner } from '../../guest/guest.ts';

/**
 * The folders of `openAptCaches`, which appear in these places of the image. An image's own apt may be set to others, where
 * lists and packages would stay in the image, or which are not there.
 */
const configuration = `
Dir::State::lists "/var/lib/apt/lists/";
Dir::Cache "/var/cache/apt/";
Dir::Cache::archives "archives/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
`;

/** A runner whose scripts of apt use the folders of the build, whatever folders the image's configuration names. */
export function withBuildFolders(runner: ScriptRunner): ScriptRunner {
  return {
    run({ files = {}, ...script }) {
      const text = files['apt.conf'];
      const added = text === undefined ? {} : { 'apt.conf': `${text}${configuration}` };
      return runner.run({ ...script, files: { ...files, ...added } });
    },
  };
}
