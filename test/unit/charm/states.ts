import type { Data } from './model.ts';
import { keystone, oddPassword, rabbit } from './samples.ts';

/** Each state of each relation, with the status of a unit whose other relations are complete. */

export interface State {
  readonly name: string;
  /** Data of the remote units; null without a relation. */
  readonly units: Readonly<Record<string, Data>> | null;
  readonly status: 'active' | 'blocked' | 'waiting';
  /** A part of the message. */
  readonly says: string;
}

export interface Subject {
  readonly endpoint: string;
  /** Relations that the unit has besides. */
  readonly others: Readonly<Record<string, Readonly<Record<string, Data>>>>;
  /** Options of the unit besides. */
  readonly options: Readonly<Record<string, string>>;
  /** The state before: complete, with credentials of which nothing may be left. */
  readonly before: Readonly<Record<string, Data>>;
  readonly states: readonly State[];
}

/** A text that stands in the data of each state before, and in no other. */
export const forgotten = 'forgotten';
/** A token of the operator: option `token` is the secret `secret:t`. */
export const token = 'token-of-the-operator-0123456789';

const certificate = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
const base64 = (text: string) => Buffer.from(text).toString('base64');
const tls = (text: string) => ({ ssl_port: '5671', ssl_ca: base64(certificate(text)) });

const amqp = { 'amqp:1': { 'rabbitmq-server/0': rabbit() } };
const cloud = { 'identity-credentials:2': { 'keystone/0': keystone } };

const state = (
  status: State['status'],
  says: string,
  states: Readonly<Record<string, Readonly<Record<string, Data>> | null>>,
): State[] => Object.entries(states).map(([name, units]) => ({ name, units, status, says }));

const nodes = (...data: Data[]) =>
  Object.fromEntries(data.map((one, index) => [`rabbitmq-server/${index}`, one] as const));
const keystones = (...data: Data[]) =>
  Object.fromEntries(data.map((one, index) => [`keystone/${index}`, one] as const));
const { credentials_host: _host, credentials_port: _port, credentials_protocol: _protocol, ...onlyAuth } = keystone;
const { credentials_password: _password, ...withoutPassword } = keystone;

const ofAmqp: readonly State[] = [
  ...state('blocked', 'Missing relation amqp', { absent: null }),
  ...state('waiting', 'Waiting for rabbitmq-server', {
    'without units': {},
    'with an empty unit': nodes({}),
    'with an address alone': nodes({ hostname: '10.0.0.9', 'private-address': '10.0.0.9', clustered: 'true' }),
    'with a password alone': nodes({ password: 'rabbit-password' }),
    'with an empty password': nodes(rabbit('10.0.0.9', '')),
  }),
  ...state('active', 'Ready', {
    complete: nodes(rabbit()),
    'with odd characters in the password': nodes(rabbit('10.0.0.9', oddPassword)),
    'with a list of hosts': nodes(rabbit('10.0.0.9,10.0.0.10, rabbit.example')),
    'with an address of IPv6': nodes(rabbit('fd00::9')),
    'with the private address alone': nodes({ 'private-address': '10.0.0.9', password: 'rabbit-password' }),
    'with a unit that has not made the user': nodes(rabbit(), { hostname: '10.0.0.10' }),
    'with passwords that differ': nodes(rabbit(), rabbit('10.0.0.10', 'other-password')),
    'with a virtual address': nodes({ ...rabbit(), vip: '10.0.0.99', 'ha-vip-only': 'true' }),
    'with TLS': nodes({ ...rabbit(), ...tls('AA==') }),
    'with TLS by a usual authority': nodes({ ...rabbit(), ssl_port: '5671' }),
    'with TLS and two authorities': nodes({ ...rabbit(), ...tls('AA==') }, { ...rabbit('10.0.0.10'), ...tls('AB==') }),
    'with TLS at one of two units': nodes(rabbit(), { ...rabbit('10.0.0.10'), ...tls('AA==') }),
    'with a host that is none at one of two units': nodes(rabbit('a/b'), rabbit('10.0.0.10')),
  }),
  ...state('blocked', 'The hostname of rabbitmq-server', {
    'with a host that is none': nodes(rabbit('user@host:1/path')),
    'with a host of commas': nodes(rabbit(' , ')),
  }),
  ...state('blocked', 'The ssl_port of rabbitmq-server', {
    'with a port that is a word': nodes({ ...rabbit(), ssl_port: 'amqps' }),
    'with a port that is too large': nodes({ ...rabbit(), ssl_port: '65536' }),
  }),
  ...state('blocked', 'The ssl_ca of rabbitmq-server', {
    'with a certificate that is none': nodes({ ...rabbit(), ssl_port: '5671', ssl_ca: 'bm9uZQ==' }),
  }),
];

const ofKeystone: readonly State[] = [
  ...state('waiting', 'Waiting for keystone', {
    'without units': {},
    'with an empty unit': keystones({}),
    'without a password': keystones(withoutPassword),
    'without an address': keystones({ credentials_password: 'keystone-password' }),
  }),
  ...state('active', 'Ready', {
    absent: null,
    complete: keystones(keystone),
    'with a unit that has not made the user': keystones({}, keystone),
    'with the address for administrators alone': keystones(onlyAuth),
    'with an address of IPv6': keystones({ ...keystone, credentials_host: 'fd00::20' }),
    'with an authority': keystones({ ...keystone, ca_cert: base64(certificate('AA==')) }),
    'with an authority that Python calls none': keystones({ ...keystone, ca_cert: '__null__' }),
    'with a host that is none at one of two units': keystones({ ...keystone, credentials_host: 'a b' }, keystone),
    'with names of domains alone': keystones({ ...keystone, credentials_project_id: '' }),
  }),
  ...state('blocked', 'keystone has version 2', {
    'with version 2.0': keystones({ ...keystone, api_version: '2.0' }),
    'with version v2': keystones({ ...keystone, api_version: 'v2' }),
  }),
  ...state('blocked', 'The address of keystone', {
    'with a host that is none': keystones({ ...keystone, credentials_host: 'keystone.example/v3' }),
    'with a port that is none': keystones({ ...keystone, credentials_port: 'https' }),
    'with a protocol that is none': keystones({ ...keystone, credentials_protocol: 'ftp' }),
  }),
  ...state('blocked', 'The ca_cert of keystone', {
    'with a certificate that is none': keystones({ ...keystone, ca_cert: 'bm9uZQ==' }),
  }),
];

const ofGlance: readonly State[] = [
  ...state('active', 'Ready', {
    absent: null,
    complete: { 'glance/0': { 'glance-api-server': 'http://10.0.0.30:9292', 'glance-api-ready': 'yes' } },
    'with one of two units ready': {
      'glance/0': { 'glance-api-ready': 'no' },
      'glance/1': { 'glance-api-ready': 'Yes' },
    },
  }),
  ...state('waiting', 'Waiting for glance', {
    'without units': {},
    'with an empty unit': { 'glance/0': {} },
    'that is not ready': { 'glance/0': { 'glance-api-server': 'http://10.0.0.30:9292', 'glance-api-ready': 'no' } },
    'with another word than yes': { 'glance/0': { 'glance-api-ready': 'soon' } },
  }),
];

const ofSwift: readonly State[] = [
  ...state('active', 'Ready', {
    absent: null,
    complete: { 'swift-proxy/0': { 'swift-url': 'http://10.0.0.40:8080' } },
    'with one of two units ready': { 'swift-proxy/0': {}, 'swift-proxy/1': { 'swift-url': 'http://10.0.0.40:8080' } },
  }),
  ...state('waiting', 'Waiting for swift-proxy', {
    'without units': {},
    'with an empty unit': { 'swift-proxy/0': {} },
    'with an empty address': { 'swift-proxy/0': { 'swift-url': '' } },
  }),
];

const without = (says: string, units: Readonly<Record<string, Data>>): State[] => [
  ...state('active', 'Ready', { absent: null }),
  ...state('blocked', says, { 'without units': {}, complete: units }),
];
const user = (remote: string): State[] =>
  state('active', 'Ready', {
    absent: null,
    'without units': {},
    'with a unit': { [`${remote}/0`]: {} },
    'with two units': { [`${remote}/0`]: {}, [`${remote}/1`]: { 'ingress-address': '10.0.0.50' } },
  });

const plain = { options: {}, before: {} };

export const subjects: Readonly<Record<string, Subject>> = {
  amqp: {
    ...{ endpoint: 'amqp', others: { 'image-builder:3': { 'lander/0': {} } }, options: {}, states: ofAmqp },
    before: nodes({ ...rabbit('10.0.7.7', `${forgotten}-password`), ...tls(forgotten) }, rabbit('10.0.7.8', forgotten)),
  },
  'identity-credentials': {
    ...{ endpoint: 'identity-credentials', others: amqp, options: {}, states: ofKeystone },
    before: keystones({
      ...{ ...keystone, credentials_password: forgotten, credentials_host: `${forgotten}.example` },
      ca_cert: base64(certificate(forgotten)),
    }),
  },
  'image-service': {
    ...{ endpoint: 'image-service', others: { ...amqp, ...cloud }, options: {}, states: ofGlance },
    before: { 'glance/0': { 'glance-api-server': `http://${forgotten}:9292`, 'glance-api-ready': 'yes' } },
  },
  'image-service without keystone': {
    ...{ endpoint: 'image-service', others: amqp, ...plain },
    states: without('Missing relation identity-credentials', { 'glance/0': { 'glance-api-ready': 'yes' } }),
  },
  'object-store': {
    ...{ endpoint: 'object-store', others: { ...amqp, ...cloud }, options: {}, states: ofSwift },
    before: { 'swift-proxy/0': { 'swift-url': `http://${forgotten}:8080` } },
  },
  'object-store without keystone': {
    ...{ endpoint: 'object-store', others: amqp, ...plain },
    states: without('Missing relation identity-credentials', { 'swift-proxy/0': { 'swift-url': 'http://a:8080' } }),
  },
  'image-builder': { endpoint: 'image-builder', others: amqp, ...plain, states: user('lander') },
  'image-builder with a token': {
    ...{ endpoint: 'image-builder', others: amqp, options: { token: 'secret:t' }, before: {}, states: user('lander') },
  },
  'cos-agent': { endpoint: 'cos-agent', others: amqp, ...plain, states: user('grafana-agent') },
};
