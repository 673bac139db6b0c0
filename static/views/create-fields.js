import { words } from '../lib/words.js'

/**
 * The options of a new sandbox as fields of a form. `name` is the field's path in the request; `kind` is how its text
 * becomes a value: text, number, minutes (sent as milliseconds), flag, words, lines or pairs.
 */
export const sections = [
  section('workspace', [
    { name: 'name' },
    { name: 'volume.name' },
    { name: 'volume.mountPath' },
    { name: 'volume.subPath' },
    { name: 'volume.readOnly', kind: 'flag' },
    { name: 'volume.exclusive', kind: 'flag' },
    { name: 'workdir' }
  ], { open: true }),
  section('repository', [
    { name: 'git.url' },
    { name: 'git.branch' },
    { name: 'git.depth', kind: 'number', step: '1' },
    { name: 'git.secretName' }
  ]),
  section('resources', [
    { name: 'timeoutMs', kind: 'minutes' },
    { name: 'idleTimeoutMs', kind: 'minutes' },
    { name: 'cpu', kind: 'number', step: '0.125', min: '0.125' },
    { name: 'memoryMiB', kind: 'number', step: '1', min: '128' },
    { name: 'gpu' }
  ]),
  section('image', [
    { name: 'image.registry' },
    { name: 'image.registrySecret' },
    { name: 'image.dockerfileCommands', kind: 'lines' },
    { name: 'image.claude', kind: 'flag', fallback: true }
  ]),
  section('environment', [
    { name: 'env', kind: 'pairs' },
    { name: 'secrets', kind: 'words' }
  ]),
  section('s3', [
    { name: 's3.bucket' },
    { name: 's3.keyPrefix' },
    { name: 's3.secretName' },
    { name: 's3.region' },
    { name: 's3.endpointUrl' },
    { name: 's3.mountPath' },
    { name: 's3.readOnly', kind: 'flag', fallback: true },
    { name: 's3.initialize', kind: 'flag', fallback: true },
    { name: 's3.syncOnTerminate', kind: 'flag', fallback: true },
    { name: 's3.syncAfterRun', kind: 'flag' },
    { name: 's3.delete', kind: 'flag' },
    { name: 's3.versioned', kind: 'flag' }
  ]),
  section('network', [
    { name: 'network.block', kind: 'flag' },
    { name: 'network.domainAllowlist', kind: 'words' },
    { name: 'network.cidrAllowlist', kind: 'words' }
  ]),
  section('tags', [{ name: 'tags', kind: 'pairs' }])
]

/** With what is said of it and of its fields: label, placeholder and hint. */
function section (name, fields, options) {
  const named = fields.map((field) => ({ ...field, ...words.create.fields[field.name] }))
  return { title: words.create.sections[name], fields: named, ...options }
}

/** The service's message, with the fields named as in the form. */
export function nameFields (message) {
  const fields = sections.flatMap(({ fields }) => fields)
  return message.replace(/\bbody\.([A-Za-z0-9]+(?:\.[A-Za-z0-9]+)?)/g, (path, name) => {
    const field = fields.find((field) => field.name === name) ?? fields.find((field) => field.name === name.split('.')[0])
    return field ? words.common.quoted(field.label) : path
  })
}

const minute = 60_000

/** The value of a field; undefined when it is not sent. Throws an Error with a message for the user. */
export function parseField ({ kind = 'text', fallback = false }, { value, checked }) {
  if (kind === 'flag') return checked === fallback ? undefined : checked
  const text = value.trim()
  if (text === '') return
  if (kind === 'number') return Number(text)
  if (kind === 'minutes') return Math.round(Number(text) * 60) * 1000
  if (kind === 'words') return text.split(/[\s,]+/).filter(Boolean)
  if (kind === 'lines') return value.split('\n').map((line) => line.trim()).filter(Boolean)
  if (kind === 'pairs') return Object.fromEntries(value.split('\n').filter((line) => line.trim() !== '').map(parsePair))
  return text
}

function parsePair (line) {
  const at = line.indexOf('=')
  if (at < 1) throw new Error(words.create.pairForm(line.trim()))
  return [line.slice(0, at).trim(), line.slice(at + 1)]
}

/** The field's text, or state, for a value. */
export function formatField ({ kind = 'text', fallback = false }, value) {
  if (kind === 'flag') return value ?? fallback
  if (value === undefined) return ''
  if (kind === 'minutes') return String(value / minute)
  if (kind === 'words') return value.join(', ')
  if (kind === 'lines') return value.join('\n')
  if (kind === 'pairs') return Object.entries(value).map((pair) => pair.join('=')).join('\n')
  return String(value)
}
