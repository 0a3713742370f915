import { SPDX } from '@cyclonedx/cyclonedx-library';
import * as assert from 'uvu/assert';
import { z } from 'zod';

/**
 * The rules of SPDX 2.3 for the members that we write, from the chapters of its specification that are named below; the
 * published JSON schema is in no package that we use. Unknown members are refused.
 */

/** 7.2: letters, digits, `.` and `-`. */
const Id = z.string().regex(/^SPDXRef-[A-Za-z0-9.-]+$/);
/** 7.7 and 7.13 to 7.17: a licence expression, or one of two words; no tabs or line ends. */
const Text = z
  .string()
  .min(1)
  .regex(/^[^\r\n\t]*$/);
const Checksum = z.discriminatedUnion('algorithm', [
  z.strictObject({ algorithm: z.literal('SHA256'), checksumValue: z.string().regex(/^[0-9a-f]{64}$/) }),
  z.strictObject({ algorithm: z.literal('SHA512'), checksumValue: z.string().regex(/^[0-9a-f]{128}$/) }),
]);
const Package = z.strictObject({
  SPDXID: Id,
  name: Text,
  versionInfo: Text.optional(),
  downloadLocation: z.union([z.literal(['NOASSERTION', 'NONE']), z.string().regex(/^https?:\/\/[!-~]+$/)]),
  filesAnalyzed: z.literal(false),
  licenseConcluded: z.literal('NOASSERTION'),
  licenseDeclared: Text,
  copyrightText: Text,
  /** 7.24. */
  primaryPackagePurpose: z.enum(['FILE', 'OPERATING-SYSTEM']).optional(),
  comment: Text.optional(),
  sourceInfo: Text.optional(),
  checksums: z.array(Checksum).min(1).optional(),
  /** 7.21 and annex F.3.5. */
  externalRefs: z
    .array(
      z.strictObject({
        referenceCategory: z.literal('PACKAGE-MANAGER'),
        referenceType: z.literal('purl'),
        referenceLocator: z
          .string()
          .regex(/^pkg:[a-z]+\/[A-Za-z0-9.\-_~%:/]+(?:@[A-Za-z0-9.\-_~%:]+)?\?[A-Za-z0-9.\-_~%:=&]+$/),
      }),
    )
    .optional(),
});
const Document = z.strictObject({
  spdxVersion: z.literal('SPDX-2.3'),
  dataLicense: z.literal('CC0-1.0'),
  SPDXID: z.literal('SPDXRef-DOCUMENT'),
  name: Text,
  /** 6.5: an absolute URI without a fragment. */
  documentNamespace: z.string().regex(/^[a-z]+:[^#\s]+$/),
  creationInfo: z.strictObject({
    /** 6.9: in whole seconds, of UTC. */
    created: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    creators: z.array(z.string().regex(/^(Tool|Organization|Person): ./)).min(1),
  }),
  packages: z.array(Package),
  /** 10.1 to 10.3. */
  hasExtractedLicensingInfos: z
    .array(
      z.strictObject({ licenseId: z.string().regex(/^LicenseRef-[A-Za-z0-9.-]+$/), extractedText: Text, name: Text }),
    )
    .min(1)
    .optional(),
  /** 11.1. */
  relationships: z.array(
    z.strictObject({
      spdxElementId: Id,
      relationshipType: z.enum(['DESCRIBES', 'DESCENDANT_OF', 'CONTAINS']),
      relatedSpdxElement: Id,
    }),
  ),
});

/**
 * The ids of licences in an expression of annex D. Fails where it is none: a bracket is missing, an id or an exception is
 * not on SPDX's list, or stands where an operator should.
 */
export function licencesIn(expression: string): string[] {
  const words = expression.match(/[()]|[^ ()]+/g) ?? [];
  const ids: string[] = [];
  const take = (wanted: string) => words[0] === wanted && words.shift() !== undefined;
  const parseOperand = () => {
    if (take('(')) {
      parseAll();
      assert.ok(take(')'), expression);
      return;
    }
    const id = words.shift() ?? '';
    const isReference = /^LicenseRef-[A-Za-z0-9.-]+$/.test(id);
    assert.ok(isReference || SPDX.isSupportedSpdxId(id.replace(/\+$/, '')), `${id} in ${expression}`);
    ids.push(id);
    if (take('WITH')) assert.ok(SPDX.isSupportedSpdxId(words.shift()), expression);
  };
  const parseAll = () => {
    do parseOperand();
    while (take('AND') || take('OR'));
  };
  parseAll();
  assert.equal(words, [], expression);
  return ids;
}

/**
 * The document of `text`. Fails where it breaks the rules, has an id twice, or names one that it does not have. The same
 * goes for its licences.
 */
export function readSpdx(text: string): z.infer<typeof Document> {
  const document = Document.parse(JSON.parse(text));
  const ids = [document.SPDXID, ...document.packages.map(({ SPDXID }) => SPDXID)];
  const known = new Set<string>(ids);
  assert.is(known.size, ids.length, 'each id is there once');
  for (const { spdxElementId, relatedSpdxElement } of document.relationships) {
    assert.ok(known.has(spdxElementId) && known.has(relatedSpdxElement), `${spdxElementId} ${relatedSpdxElement}`);
  }
  const references = (document.hasExtractedLicensingInfos ?? []).map(({ licenseId }) => licenseId);
  const declared = document.packages.map(({ licenseDeclared }) => licenseDeclared);
  const named = declared.filter((text) => text !== 'NOASSERTION').flatMap(licencesIn);
  assert.equal(references, [...new Set(named.filter((id) => id.startsWith('LicenseRef-')))].sort());
  return document;
}
