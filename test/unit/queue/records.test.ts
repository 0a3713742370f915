import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { type BuildJob, decodeJob, encodeJob } from '#lib/queue/job.ts';
import { decodeRecord, encodeRecord } from '#lib/queue/record.ts';
import { holds } from '../holds.ts';

const id = '00000000-0000-4000-8000-000000000001';
const job: BuildJob = {
  build_id: id,
  request: structuredClone(exampleRequest) as unknown as BuildJob['request'],
  callback: null,
  submitted_at: '2026-01-01T00:00:00.000Z',
};

test('a job goes through a message as the caller wrote it', () => {
  assert.equal(decodeJob(encodeJob(job)), job);
});

test('a job whose request is not valid is refused with the reason', () => {
  const bad = { ...job, request: { ticket_id: 'T-1' } };
  assert.match(String(decodeJob(Buffer.from(JSON.stringify(bad)))), 'must be a valid build request');
});

test('no bytes whatever make decoding throw', () => {
  holds(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        assert.type(decodeJob(Buffer.from(bytes)), 'string');
        assert.type(decodeRecord(Buffer.from(bytes)), 'string');
      },
    ),
  );
});

test('records go through a message unchanged, and an invalid one is not written', () => {
  const record = { kind: 'cancel', id, build_id: id, time: '2026-01-01T00:00:00.000Z' } as const;
  assert.equal(decodeRecord(encodeRecord(record)), record);
  assert.throws(() => encodeRecord({ ...record, build_id: 'x' }));
});

test.run();
