import { basename } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { plain, someOf } from '../../text.ts';

/** A file in an archive. */
export interface Member {
  readonly name: string;
  /** Bytes that it takes in the archive. */
  readonly sizeBytes: number;
  /** Where its bytes begin. */
  readonly dataOffset: number;
}

const mostMembers = 1000;
/** Files that vendors put beside a disk image: descriptions, sums, licences, and what macOS leaves. */
const companion = /\.(ovf|mf|cert|xml|txt|md|json|manifest|log|pdf|html|plist|nvram|vbox|sha256|sha512|md5|asc|sig)$/i;
const companionNames = /^(readme|license|copying|notice|changelog|sha256sums|sha512sums|md5sums|\.ds_store)/i;

/** Throws `image.unsupported` where an archive holds more files than any that carries a disk image. */
export function assertMemberCount(members: readonly Member[], kind: string): void {
  if (members.length <= mostMembers) return;
  throw new ImageBuilderError('image.unsupported', `the ${kind} holds more than ${mostMembers} files, no disk image`);
}

/** The one disk image of an archive. Throws `image.unsupported` where there is none, or more than one. */
export function theImage<Found extends Member>(members: readonly Found[], kind: string): Found {
  const images = members.filter(({ name, sizeBytes }) => sizeBytes > 0 && !isCompanion(name));
  const [image, ...others] = images;
  const names = someOf(images.map(({ name }) => plain(name)));
  if (image === undefined) {
    throw new ImageBuilderError('image.unsupported', `the ${kind} holds no disk image`);
  }
  if (others.length > 0) {
    throw new ImageBuilderError(
      'image.unsupported',
      `the ${kind} holds ${images.length} files that may be the disk image (${names}): give the URL of one`,
    );
  }
  return image;
}

function isCompanion(name: string): boolean {
  const last = basename(name);
  return companion.test(last) || companionNames.test(last) || name.startsWith('__MACOSX/') || last.startsWith('._');
}
