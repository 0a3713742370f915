import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseBrokerUrls, passwordsOf } from '#lib/broker-address.ts';

const messageOf = (text: string): string => {
  try {
    parseBrokerUrls(text);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return '';
};

test('user, password and virtual host are percent-encoded UTF-8', () => {
  const [address] = parseBrokerUrls(
    'amqps://j%C3%BCrgen:p%40s%2Fs%3Aw%C3%B6rt%25@rabbit.example/caf%C3%A9%2F1?heartbeat=7',
  );
  const { user, password, vhost, tls, port, heartbeatSeconds, where } = address;
  assert.equal([user, password, vhost], ['jürgen', 'p@s/s:wört%', 'café/1']);
  assert.equal([tls, port, heartbeatSeconds], [true, 5671, 7]);
  assert.is(where, 'amqps://rabbit.example/caf%C3%A9%2F1');
});

test('characters that need no code may stand as they are', () => {
  const [address] = parseBrokerUrls("amqp://user:wört!$&'()*+,;=:@@[::1]:5673");
  assert.equal([address.password, address.host, address.port], ["wört!$&'()*+,;=:@", '::1', 5673]);
  assert.is(parseBrokerUrls('amqp://user:100%@host')[0].password, '100%');
});

test('further nodes take what they leave out from the first', () => {
  const [one, two, three] = parseBrokerUrls('amqps://u:p,amqp@a/v , amqps://b:5000,\n amqp://x:y@c/w');
  assert.equal([one.host, one.password], ['a', 'p,amqp']);
  assert.equal([two?.host, two?.port, two?.user, two?.password, two?.vhost], ['b', 5000, 'u', 'p,amqp', 'v']);
  assert.equal([three?.tls, three?.user, three?.vhost], [false, 'x', 'w']);
});

test('a password whose reserved characters are not encoded is refused, and no part of it is shown', () => {
  for (const secret of ['12/ss', '12?ss', '12#ss', 'pa/ss', 'pa#ss', '1/2/3']) {
    const message = messageOf(`amqp://user:${secret}@host`);
    assert.match(message, 'percent codes', secret);
    assert.not.match(message, 'ss@');
    assert.ok(passwordsOf(`amqp://user:${secret}@host`).includes(secret), secret);
  }
  for (const text of ['', 'http://host', 'amqp://', 'host:5672', 'amqp://a?auth_mechanism=x']) {
    assert.is.not(messageOf(text), '', text);
  }
});

test('every form of a password is known as a secret', () => {
  const found = passwordsOf('amqp://u:w%C3%B6rt@a, amqp://u:zwölf@b');
  for (const form of ['w%C3%B6rt', 'wört', 'zwölf', 'zw%C3%B6lf']) assert.ok(found.includes(form), form);
});

test.run();
