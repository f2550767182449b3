// Section 7 of the contract: what is refused, with which code and text, over MQTT
// and HTTP alike. Each is sent to a shadow at version 1: name, body, rejection.

/** section returns a section nested `levels` deep, its own braces being level 1. */
export function section(levels) {
  let v = 1;
  for (let i = 0; i < levels; i++) v = { a: v };
  return v;
}

const invalidJSON = { code: 400, message: 'Invalid JSON' };
const bad = (message) => ({ code: 400, message });
const tooLarge = { code: 413, message: 'The payload exceeds the maximum size allowed' };

/** filled returns a reported section whose compact desired+reported is `bytes` long. */
export function filled(bytes) {
  const frame = JSON.stringify({ k: '' }).length;
  return { k: 'x'.repeat(bytes - frame) };
}

export const rejections = [
  ['invalid UTF-8', Buffer.from([...Buffer.from('{"state":{"reported":{"a":"'), 0xff, ...Buffer.from('"}}}')]),
    { code: 415, message: 'Unsupported documented encoding; supported encoding is UTF-8' }],
  ['a truncated document', '{"state":{"reported":{"a":1}}', invalidJSON],
  ['no JSON at all', 'on', invalidJSON],
  ['an empty body', '', invalidJSON],
  ['duplicate keys', '{"state":{"reported":{"a":1,"a":2}}}', invalidJSON],
  ['NaN', '{"state":{"reported":{"a":NaN}}}', invalidJSON],
  ['a number out of range', '{"state":{"reported":{"a":1e400}}}', invalidJSON],
  ['bytes after the document', '{"state":{"reported":{"a":1}}} x', invalidJSON],
  ['null in an array', '{"state":{"reported":{"a":[1,null]}},"clientToken":"t"}', { ...invalidJSON, clientToken: 't' }],
  ['no state', '{"clientToken":"t"}', { ...bad('Missing required node: state'), clientToken: 't' }],
  ['state that is no object', '{"state":5,"clientToken":"t"}', { ...bad('State node must be an object'), clientToken: 't' }],
  ['desired that is no object', '{"state":{"desired":[1]},"clientToken":"t"}', { ...bad('Desired node must be an object'), clientToken: 't' }],
  ['reported that is no object', '{"state":{"reported":"on"}}', bad('Reported node must be an object')],
  ['an unknown node in state', '{"state":{"reported":{"a":1},"foo":{}},"clientToken":"t"}', { ...bad("State contains an invalid node: 'foo'"), clientToken: 't' }],
  ['delta in state', '{"state":{"delta":{"a":1}}}', bad("State contains an invalid node: 'delta'")],
  ['a version that is a text', '{"state":{"reported":{"a":1}},"version":"1"}', bad('Invalid version')],
  ['a negative version', '{"state":{"reported":{"a":1}},"version":-1,"clientToken":"t"}', { ...bad('Invalid version'), clientToken: 't' }],
  ['a broken version', '{"state":{"reported":{"a":1}},"version":1.5}', bad('Invalid version')],
  ['a smaller version', '{"state":{"reported":{"a":1}},"version":0,"clientToken":"t"}', { code: 409, message: 'Version conflict', clientToken: 't' }],
  ['a greater version', '{"state":{"reported":{"a":1}},"version":99}', { code: 409, message: 'Version conflict' }],
  ['a token of 65 bytes', JSON.stringify({ state: { reported: { a: 1 } }, clientToken: 't'.repeat(65) }), bad('Invalid clientToken')],
  ['a token of 65 bytes in 33 letters', JSON.stringify({ state: { reported: { a: 1 } }, clientToken: `${'é'.repeat(32)}t` }), bad('Invalid clientToken')],
  ['a token that is a number', '{"state":{"reported":{"a":1}},"clientToken":7}', bad('Invalid clientToken')],
  ['nine levels', JSON.stringify({ state: { desired: section(9) }, clientToken: 't' }), { ...bad('JSON contains too many levels of nesting; maximum is 8'), clientToken: 't' }],
  ['nine levels with arrays', '{"state":{"desired":{"a":[[[[[[[[1]]]]]]]]}}}', bad('JSON contains too many levels of nesting; maximum is 8')],
  ['8,193 bytes merged', JSON.stringify({ state: { reported: filled(8192 + 1) }, clientToken: 't' }), { ...tooLarge, clientToken: 't' }],
];
