import type { OtherSystem } from './other-systems.ts';

/** The meaning of the files on a CD medium: its layers, the file trees made of them, and what gets installed. */

export interface Medium {
  /** The program in the initial ramdisk that finds the layers: Ubuntu's casper or Debian's live-boot. */
  readonly family: 'casper' | 'live-boot';
  /** The folder with the layers. */
  readonly folder: string;
  /** All file trees that the medium can show, none of them twice. */
  readonly views: readonly View[];
  /** The systems that the medium installs, or the one that it runs. Never empty. */
  readonly sources: readonly MediumSource[];
  readonly defaultSource: MediumSource;
}

/** A file tree that is made of layers. */
export interface View {
  /** Paths of the layers, the lowest first. */
  readonly layers: readonly string[];
  /** True where the live session may run in it; only the initial ramdisk and the boot menu say which of them does. */
  readonly live: boolean;
}

export interface MediumSource {
  readonly id: string;
  /** Path of the layer that holds what is particular to the source: the uppermost of its file tree. */
  readonly layer: string;
  /** Paths of the layers that its variations have instead, for machines of another kind. */
  readonly variations?: readonly string[];
}

/** The layers that a change of one source concerns. */
export interface LayerChoice {
  readonly source: MediumSource;
  /** The layer that gets the change. */
  readonly layer: string;
  /** Its place in a view with nothing above it. */
  readonly below: readonly string[];
  /** The layers above it on any view, each after all that it stands on, with those that it stands on. */
  readonly above: readonly { readonly layer: string; readonly below: readonly string[] }[];
}

export interface MediumFiles {
  /** Paths of all files of the medium, without a leading slash. */
  readonly paths: Iterable<string>;
  /** Content of a small file that is there; called for `install-sources.yaml` and for live-boot's lists of modules. */
  readonly readText: (path: string) => string;
  readonly starts: readonly LiveStart[];
  /** Other file systems that may hold its system. */
  readonly others?: readonly OtherSystem[];
}

/** An entry of a boot menu, as far as it says which layers it starts. */
export interface LiveStart {
  /** By `boot=`; null where the initial ramdisk decides. */
  readonly program: Medium['family'] | null;
  /** Folder of the layers by `live-media-path=`; null for the usual one. */
  readonly folder: string | null;
  /**
   * File name of the uppermost layer, by `layerfs-path=` or by casper's setting in the initial ramdisk, or of the only
   * one that dracut opens; a name of null stands for all layers of the folder.
   */
  readonly topLayer: { readonly name: string | null } | 'unknown';
  /** Name of live-boot's list of modules by `module=`; null for the usual one. */
  readonly module: string | null;
}

/** A folder with layers, for the program that lays them one above the other. */
export interface LayerFolder extends Pick<MediumFiles, 'readText' | 'starts'> {
  readonly folder: string;
  /** Paths of its layers, sorted. */
  readonly layers: readonly string[];
  /** Paths of all files of the medium. */
  readonly paths: ReadonlySet<string>;
  /** Other file systems in the folder. */
  readonly others: readonly OtherSystem[];
}
