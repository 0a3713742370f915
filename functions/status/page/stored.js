import { send } from './calls.js';
import { panel } from './panel.js';
import { artifactTable, changedFiles, packageChanges } from './result.js';
import { save } from './save.js';

/** The files beside the image of a build: the changes that one of them describes, and all of them to be saved. */

/**
 * @import { BuildStatus } from '#lib/api/status.ts'
 * @import { ChangesDocument } from '#lib/manifest/changes.ts'
 */

/** A document of twenty thousand files has some three. */
const maximumChangesBytes = 16 * 1024 * 1024;

/**
 * @param {string} url The files are below it.
 * @param {(error: unknown) => void} onError
 */
export function createStored(url, onError) {
  const panels = { packages: panel('Packages'), files: panel('Changed files'), artifacts: panel('Artifacts') };
  /** @param {string} name */
  const urlOf = (name) => `${url}/${encodeURIComponent(name)}`;

  /** @param {string} name */
  async function saveFile(name) {
    try {
      await save(urlOf(name), name, null);
    } catch (error) {
      onError(error);
    }
  }

  /** @type {ChangesDocument | undefined} */
  let changes;
  let changesName = '';

  /**
   * Reads the document of changes once. The view does without where it is in a store elsewhere, which the page may not call.
   *
   * @param {BuildStatus} build
   */
  async function readChanges({ artifacts = [], image }) {
    const artifact = artifacts.find(({ role }) => role === 'changes');
    if (artifact === undefined || artifact.name === changesName || artifact.size > maximumChangesBytes) return;
    changesName = artifact.name;
    try {
      const response = await send(urlOf(artifact.name), { redirect: 'manual' });
      if (response.type === 'opaqueredirect') return;
      const document = await response.json();
      if (document.version !== 1) return;
      changes = document;
      showChanges(image);
    } catch {
      // The image may be deleted. The status names the packages all the same.
    }
  }

  /** @param {BuildStatus['image']} image */
  function showChanges(image) {
    const { added = [], changed = [], removed = [] } = changes?.packages ?? {};
    const packages = changes === undefined ? image : { packages: [...added, ...changed], removed };
    panels.packages.show(packages, () => (packages === undefined ? [] : [packageChanges(packages)]));
    panels.files.show(changes && [changes.files, changes.files_unknown], () =>
      changes === undefined ? [] : [changedFiles(changes)],
    );
  }

  return {
    nodes: [panels.packages.node, panels.files.node, panels.artifacts.node],
    /** @param {BuildStatus} build */
    update(build) {
      const { artifacts, image } = build;
      showChanges(image);
      void readChanges(build);
      panels.artifacts.show(artifacts, () =>
        artifacts === undefined ? [] : [artifactTable(artifacts, (name) => void saveFile(name))],
      );
    },
  };
}
