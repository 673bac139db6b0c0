/**
 * The options of a new sandbox as fields of a form. `name` is the field's path in the request; `kind` is how its text
 * becomes a value: text, number, minutes (sent as milliseconds), flag, words, lines or pairs.
 */
export const sections = [
  {
    title: 'Workspace',
    open: true,
    fields: [
      { name: 'name', label: 'Name', placeholder: 'my-project', hint: 'Unique among your running sandboxes.' },
      { name: 'volume.name', label: 'Volume', placeholder: 'none: files are lost at the end', hint: 'Keeps files and conversations.' },
      { name: 'volume.mountPath', label: 'Mount path', placeholder: '/workspace' },
      { name: 'volume.subPath', label: 'Part of the volume', placeholder: 'all of it' },
      { name: 'volume.readOnly', label: 'Read-only volume', kind: 'flag' },
      { name: 'volume.exclusive', label: 'Refuse other sandboxes on the volume', kind: 'flag' },
      { name: 'workdir', label: 'Working directory', placeholder: 'the volume\'s mount path' }
    ]
  },
  {
    title: 'Repository',
    fields: [
      { name: 'git.url', label: 'URL', placeholder: 'none', hint: 'Cloned into the working directory, unless it is there already.' },
      { name: 'git.branch', label: 'Branch or tag', placeholder: 'the repository\'s own' },
      { name: 'git.depth', label: 'Only the last commits', kind: 'number', step: '1', placeholder: 'all' },
      { name: 'git.secretName', label: 'Secret with GIT_TOKEN', placeholder: 'none: it is public', hint: 'A Modal secret, used for the clone alone.' }
    ]
  },
  {
    title: 'Lifetime and resources',
    fields: [
      { name: 'timeoutMs', label: 'Lifetime in minutes', kind: 'minutes', placeholder: 'default', hint: 'It cannot be extended later.' },
      { name: 'idleTimeoutMs', label: 'Idle timeout in minutes', kind: 'minutes', placeholder: 'default' },
      { name: 'cpu', label: 'CPU cores', kind: 'number', step: '0.125', min: '0.125', placeholder: 'default' },
      { name: 'memoryMiB', label: 'Memory in MiB', kind: 'number', step: '1', min: '128', placeholder: 'default' },
      { name: 'gpu', label: 'GPU', placeholder: 'T4 or A100:2, for example' }
    ]
  },
  {
    title: 'Image',
    fields: [
      { name: 'image.registry', label: 'Image', placeholder: 'default image with Claude', hint: 'An image reference, such as debian:12.' },
      { name: 'image.registrySecret', label: 'Registry secret', placeholder: 'none' },
      { name: 'image.dockerfileCommands', label: 'Dockerfile commands', kind: 'lines', placeholder: 'RUN apt-get update', hint: 'One per line, without FROM.' },
      { name: 'image.claude', label: 'Install Claude in the image named above', kind: 'flag', fallback: true }
    ]
  },
  {
    title: 'Environment',
    fields: [
      { name: 'env', label: 'Variables', kind: 'pairs', placeholder: 'NAME=value', hint: 'One per line. Not remembered, as they may be secret.' },
      { name: 'secrets', label: 'Secrets', kind: 'words', placeholder: 'comma-separated names', hint: 'Modal secrets, set as environment variables.' }
    ]
  },
  {
    title: 'S3',
    fields: [
      { name: 's3.bucket', label: 'Bucket', placeholder: 'none' },
      { name: 's3.keyPrefix', label: 'Key prefix', placeholder: 'projects/one/' },
      { name: 's3.secretName', label: 'AWS secret', placeholder: 'the service\'s own credentials', hint: 'Modal secret that holds the AWS keys.' },
      { name: 's3.region', label: 'Region', placeholder: 'us-east-1' },
      { name: 's3.endpointUrl', label: 'Endpoint', placeholder: 'AWS' },
      { name: 's3.mountPath', label: 'Also mount at', placeholder: 'not mounted' },
      { name: 's3.readOnly', label: 'Read-only mount', kind: 'flag', fallback: true },
      { name: 's3.initialize', label: 'Copy from S3 at the start', kind: 'flag', fallback: true },
      { name: 's3.syncOnTerminate', label: 'Copy to S3 at the end', kind: 'flag', fallback: true },
      { name: 's3.syncAfterRun', label: 'Copy to S3 after every run', kind: 'flag' },
      { name: 's3.delete', label: 'Delete from S3 what was deleted here', kind: 'flag' },
      { name: 's3.versioned', label: 'Keep earlier versions', kind: 'flag' }
    ]
  },
  {
    title: 'Network',
    fields: [
      { name: 'network.block', label: 'Block all network access', kind: 'flag' },
      { name: 'network.domainAllowlist', label: 'Allowed domains', kind: 'words', placeholder: '*.example.com, pypi.org' },
      { name: 'network.cidrAllowlist', label: 'Allowed addresses', kind: 'words', placeholder: '10.0.0.0/8' }
    ]
  },
  {
    title: 'Tags',
    fields: [{ name: 'tags', label: 'Tags', kind: 'pairs', placeholder: 'team=web', hint: 'One per line. The API can filter by them.' }]
  }
]

/** The service's message, with the fields named as in the form. */
export function nameFields (message) {
  const fields = sections.flatMap(({ fields }) => fields)
  return message.replace(/\bbody\.([A-Za-z0-9]+(?:\.[A-Za-z0-9]+)?)/g, (path, name) => {
    const field = fields.find((field) => field.name === name) ?? fields.find((field) => field.name === name.split('.')[0])
    return field ? `“${field.label}”` : path
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
  if (at < 1) throw new Error(`“${line.trim()}” must have the form NAME=value.`)
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
