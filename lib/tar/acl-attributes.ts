import { type Accounts, readAccounts } from './accounts.ts';
import { parseAcl, renderAcl } from './acl.ts';
import type { PaxRecords } from './pax.ts';
import type { Region } from './region.ts';
import type { RootEntry } from './root-entry.ts';

/** The two forms of an ACL in extended headers: text, and the kernel's value, which alone says everything in numbers. */
const forms = [
  ['SCHILY.acl.access', 'SCHILY.xattr.system.posix_acl_access'],
  ['SCHILY.acl.default', 'SCHILY.xattr.system.posix_acl_default'],
] as const;

const modeKeyword = 'SCHILY.xattr.system.posix_acl_access';
/** Those of the owner, the group, and others: a list that names somebody has a mask, too. */
const ownEntries = 3;

/**
 * Puts the kernel's value in the place of the text of each ACL, so that lists are the same where they mean the same. Throws as
 * `parseAcl` and `renderAcl` do.
 */
export async function resolveAcls(archive: Region, entries: Map<string, RootEntry>): Promise<void> {
  let accounts: Accounts | null = null;
  for (const [path, entry] of entries) {
    if (!forms.some((keywords) => keywords.some((keyword) => entry.attributes.has(keyword)))) continue;
    accounts ??= await readAccounts(archive, entries);
    entries.set(path, { ...entry, attributes: withValues(entry.attributes, accounts) });
  }
}

function withValues(attributes: PaxRecords, accounts: Accounts): PaxRecords {
  const values = new Map(attributes);
  for (const [textKeyword, keyword] of forms) {
    const text = attributes.get(textKeyword);
    const value = attributes.get(keyword);
    values.delete(textKeyword);
    const list = value ?? (text === undefined ? null : parseAcl(text.toString('latin1'), accounts));
    if (list === null) continue;
    const count = renderAcl(list).split('\n').length - 1;
    // The mode says as much. GNU tar writes it for a folder that has a list for new files alone.
    if (keyword === modeKeyword && count <= ownEntries) values.delete(keyword);
    else values.set(keyword, list);
  }
  return values;
}

/** Adds the text of each ACL: GNU tar reads it with `--acls`, and the value with `--xattrs`. */
export function withAclTexts(attributes: PaxRecords): PaxRecords {
  const records = new Map(attributes);
  for (const [textKeyword, keyword] of forms) {
    const value = attributes.get(keyword);
    if (value !== undefined) records.set(textKeyword, Buffer.from(renderAcl(value)));
  }
  return records;
}
