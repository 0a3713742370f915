import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import got from 'got';
import { z } from 'zod';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import type { Artifacts, ImageArtifact, Origin } from '#lib/store/artifact.ts';
import { startOpenStack } from '../lab/servers/openstack/openstack.ts';
import { median } from './measure.ts';

/** Uploads one file to one real Glance, with Image Builder and with curl, in turns. */

export interface UploadMeasurement {
  readonly bytes: number;
  /** Median; it includes all of `put`: record, upload, verification, and the search before and after. */
  readonly imageBuilderSeconds: number;
  readonly curlSeconds: number;
  /** Image Builder's throughput over curl's. */
  readonly ratio: number;
  /** Largest resident memory of an uploading process, Node itself included. */
  readonly peakBytes: number;
}

export interface UploadOptions {
  readonly directory: string;
  readonly bytes: number;
  readonly rounds: number;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

const Result = z.object({ id: z.uuid(), seconds: z.number(), peakBytes: z.number() });

export async function measureUpload(options: UploadOptions): Promise<UploadMeasurement> {
  const { directory, bytes, rounds, signal, onProgress } = options;
  const path = join(directory, 'upload.img');
  await exec('openssl', ['rand', '-out', path, String(bytes)], { signal });
  await using cloud = await startOpenStack({
    services: ['glance'],
    directory: join(directory, 'openstack'),
    onProgress,
  });
  const token = (await cloud.command(['token', 'issue', '-f', 'value', '-c', 'id'])).stdout.trim();
  const glance = got.extend({ prefixUrl: `${cloud.glanceUrl}/v2`, headers: { 'x-auth-token': token } });
  const { checksums } = await hashFile(path, { signal });

  const runs = { imageBuilder: [] as number[], curl: [] as number[], peak: [] as number[] };
  for (let round = 1; round <= rounds; round += 1) {
    onProgress(`uploading ${bytes} bytes, round ${round} of ${rounds}`);
    const build = finished(path, bytes, checksums);
    const { stdout } = await exec(
      process.execPath,
      [join(import.meta.dirname, 'upload-client.ts'), JSON.stringify(build)],
      {
        env: cloud.environment,
        signal,
      },
    );
    const result = Result.parse(JSON.parse(stdout));
    runs.imageBuilder.push(result.seconds);
    runs.peak.push(result.peakBytes);
    await glance.delete(`images/${result.id}`);

    const record = { name: 'curl', disk_format: 'qcow2', container_format: 'bare' };
    const { id } = await glance.post('images', { json: record }).json<{ id: string }>();
    const started = performance.now();
    // The token by standard input, so that no list of processes shows it.
    await exec(
      'curl',
      [
        '--fail',
        '--silent',
        '--show-error',
        '--config',
        '-',
        '--upload-file',
        path,
        `${cloud.glanceUrl}/v2/images/${id}/file`,
      ],
      {
        input: `header = "X-Auth-Token: ${token}"\nheader = "Content-Type: application/octet-stream"\n`,
        signal,
      },
    );
    runs.curl.push((performance.now() - started) / 1000);
    await glance.delete(`images/${id}`);
  }
  await rm(path);
  const imageBuilderSeconds = median(runs.imageBuilder);
  const curlSeconds = median(runs.curl);
  return {
    bytes,
    imageBuilderSeconds,
    curlSeconds,
    ratio: curlSeconds / imageBuilderSeconds,
    peakBytes: Math.max(...runs.peak),
  };
}

function finished(
  path: string,
  sizeBytes: number,
  checksums: ImageArtifact['checksums'],
): readonly [Artifacts, Origin] {
  const file = { name: 'bench.qcow2', mediaType: 'application/octet-stream', path, sizeBytes, checksums };
  const about = {
    buildId: randomUUID(),
    ticketId: 'bench',
    series: 'bench',
    caller: null,
    baseImageSha256: checksums.sha256,
  };
  const system = { architecture: 'amd64', distribution: 'bench', distributionVersion: '0' };
  return [[{ ...file, role: 'image', format: 'qcow2' }], { ...about, ...system }];
}
