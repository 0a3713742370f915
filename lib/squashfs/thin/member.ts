import { readMembers as readTarMembers, type Member as TarMember } from '../../tar/members.ts';
import { plainName } from '../../tar/names.ts';
import type { Region } from '../../tar/region.ts';

/** One entry of the archive of an upper directory. Each character of a path is one byte. */
export interface Member extends TarMember {
  /** Without `./` before it or a slash behind it; empty for the root. */
  readonly path: string;
}

/**
 * The entries of an untrusted tar archive. Only headers are read. Throws as `readMembers` of lib/tar does, and
 * `image.unsafe` for paths that lead out of it.
 */
export async function* readMembers(archive: Region, signal: AbortSignal): AsyncGenerator<Member, void, undefined> {
  for await (const member of readTarMembers(archive, signal)) {
    const target = member.type === 'link' ? plainName(member.target, 'any').path : member.target;
    yield { ...member, target, path: plainName(member.name, 'any').path };
  }
}
