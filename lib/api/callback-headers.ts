/** The headers of the POST that a callback URL gets, with a description and an example for the documents of the API. */
export const callbackHeaders = {
  'X-Call-Id': {
    required: true,
    description: 'The `X-Call-Id` of the submission, or one that was made for it.',
    example: '2b3b5a8e-6d0e-4a7e-8f53-0b1c6c1f4a11',
  },
  'X-Function-Name': { required: true, description: 'Always `build-image`.', example: 'build-image' },
  'X-Function-Status': {
    required: true,
    description: '`200` for a build that was completed, `500` for one that failed or was cancelled.',
    example: '200',
  },
  'X-Start-Time': {
    required: true,
    description: 'Time of the submission, in nanoseconds since 1970.',
    example: '1795636800000000000',
  },
  'X-Duration-Seconds': {
    required: true,
    description: 'Seconds from the submission to the end of the build.',
    example: '249.613000',
  },
  traceparent: {
    required: false,
    description:
      'The operation that has ended the build, in the trace of the submission (W3C Trace Context). Missing for a build of an earlier version.',
    example: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  },
  tracestate: {
    required: false,
    description: 'The `tracestate` of the submission, where it had a valid one of at most 512 characters.',
    example: 'vendor=t61rcWkgMzE',
  },
  'X-Signature': {
    required: false,
    description:
      '`sha256=` and, in hexadecimal, the HMAC-SHA256 of the body, byte by byte as it came, with the key in the secret `callback-signing-key` (docs/api.md has a test vector). Missing where the operator has set no key. Verify it before you believe the body.',
    example: 'sha256=9391d44ef95d93ded39e0fed1445b37f6287814567e89872d10035601f891736',
  },
} as const;
