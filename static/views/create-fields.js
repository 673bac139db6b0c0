/**
 * Everything the service takes for a new sandbox, as fields of a form. `name` is the field's path in the request,
 * `kind` how its text becomes a value: text, number, minutes (of milliseconds), flag, words, lines or pairs.
 */
export const sections = [
  {
    title: 'Workspace',
    open: true,
    fields: [
      { name: 'name', label: 'Name', placeholder: 'my-project', hint: 'Unique among your running sandboxes.' },
      { name: 'volume.name', label: 'Volume', placeholder: 'none: files end with the sandbox', hint: 'Keeps files and conversations.' },
      { name: 'volume.mountPath', label: 'Mounted at', placeholder: '/workspace' },
      { name: 'workdir', label: 'Working directory', placeholder: 'where the volume is mounted' }
    ]
  },
  {
    title: 'Lifetime and resources',
    fields: [
      { name: 'timeoutMs', label: 'Lifetime in minutes', kind: 'minutes', placeholder: 'default', hint: 'It can not be extended later.' },
      { name: 'idleTimeoutMs', label: 'Ends when idle for minutes', kind: 'minutes', placeholder: 'default' },
      { name: 'cpu', label: 'CPU cores', kind: 'number', step: '0.125', min: '0.125', placeholder: 'default' },
      { name: 'memoryMiB', label: 'Memory in MiB', kind: 'number', step: '1', min: '128', placeholder: 'default' },
      { name: 'gpu', label: 'GPU', placeholder: 'such as T4 or A100:2' }
    ]
  },
  {
    title: 'Image',
    fields: [
      { name: 'image.registry', label: 'Image', placeholder: 'the one with Claude in it', hint: 'Name in a registry, such as debian:12.' },
      { name: 'image.registrySecret', label: 'Secret for the registry', placeholder: 'none' },
      { name: 'image.dockerfileCommands', label: 'Dockerfile commands', kind: 'lines', placeholder: 'RUN apt-get update', hint: 'One a line, after the FROM.' }
    ]
  },
  {
    title: 'Environment',
    fields: [
      { name: 'env', label: 'Variables', kind: 'pairs', placeholder: 'NAME=value', hint: 'One a line. Not remembered, as they may be secret.' },
      { name: 'secrets', label: 'Secrets', kind: 'words', placeholder: 'names, with commas', hint: 'Modal secrets; each becomes variables.' }
    ]
  },
  {
    title: 'S3',
    fields: [
      { name: 's3.bucket', label: 'Bucket', placeholder: 'none' },
      { name: 's3.keyPrefix', label: 'Key prefix', placeholder: 'projects/one/' },
      { name: 's3.secretName', label: 'Secret with the AWS keys', placeholder: 'the service\'s own' },
      { name: 's3.region', label: 'Region', placeholder: 'us-east-1' },
      { name: 's3.endpointUrl', label: 'Endpoint', placeholder: 'Amazon\'s' },
      { name: 's3.mountPath', label: 'Also mounted at', placeholder: 'not mounted' },
      { name: 's3.readOnly', label: 'The mount is read-only', kind: 'flag', standard: true },
      { name: 's3.initialize', label: 'Fill the workspace from S3 first', kind: 'flag', standard: true },
      { name: 's3.syncOnTerminate', label: 'Copy the workspace to S3 at the end', kind: 'flag', standard: true },
      { name: 's3.syncAfterRun', label: 'Copy it after every run', kind: 'flag' },
      { name: 's3.delete', label: 'Also delete from S3 what was deleted here', kind: 'flag' },
      { name: 's3.versioned', label: 'Keep versions', kind: 'flag' }
    ]
  },
  {
    title: 'Network',
    fields: [
      { name: 'network.block', label: 'No network at all', kind: 'flag' },
      { name: 'network.domainAllowlist', label: 'Only these domains', kind: 'words', placeholder: '*.example.com, api.anthropic.com' },
      { name: 'network.cidrAllowlist', label: 'Only these addresses', kind: 'words', placeholder: '10.0.0.0/8' }
    ]
  },
  {
    title: 'Tags',
    fields: [{ name: 'tags', label: 'Tags', kind: 'pairs', placeholder: 'team=web', hint: 'One a line; the list can be filtered by them.' }]
  }
]

const minute = 60_000

/** The value that a text stands for; undefined when nothing is to be sent. Throws an Error that says what is wrong. */
export function parseField ({ kind = 'text', standard = false }, { value, checked }) {
  if (kind === 'flag') return checked === standard ? undefined : checked
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
  if (at < 1) throw new Error(`“${line.trim()}” has to look like NAME=value.`)
  return [line.slice(0, at).trim(), line.slice(at + 1)]
}

/** The text that stands for a value. */
export function formatField ({ kind = 'text', standard = false }, value) {
  if (kind === 'flag') return value ?? standard
  if (value === undefined) return ''
  if (kind === 'minutes') return String(value / minute)
  if (kind === 'words') return value.join(', ')
  if (kind === 'lines') return value.join('\n')
  if (kind === 'pairs') return Object.entries(value).map((pair) => pair.join('=')).join('\n')
  return String(value)
}
