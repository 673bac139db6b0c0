import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import t from 'tap'
import { loadServices } from '../../../emulator/proto/load.js'
import { unsupported } from '../../../emulator/rpc/unsupported.js'

/** Of SDKs before the installed one. */
const gone = ['ContainerFilesystemExecGetOutput', 'ContainerFilesystemExecGetOutputRequest', 'FilesystemRuntimeOutputBatch', 'SystemErrorMessage']

/** One line per field, `repeated string dockerfileCommands = 6`, by message; RPCs as `stream A -> B`, by name. */
interface Schema { messages: Record<string, string[]>, rpcs: Record<string, string> }

const bundle = readBundle()
const services = [
  { file: 'client.proto', name: 'modal.client.ModalClient' },
  { file: 'command-router.proto', name: 'modal.task_command_router.TaskCommandRouter' }
]

for (const { file, name } of services) {
  t.test(`${file} is the wire of the installed SDK, field by field (issue 2, part 4)`, async (t) => {
    const ours = readProto(file)
    const theirs = bundle.rpcs(name)
    t.ok(Object.keys(ours.rpcs).length > 10)
    for (const [rpc, shape] of Object.entries(ours.rpcs)) t.equal(theirs[rpc], shape, rpc)
    for (const [message, fields] of Object.entries(ours.messages)) t.same(bundle.fields(message), fields, message)
  })
}

t.test('older-clients.proto is the wire of the installed SDK, as far as that still has it', async (t) => {
  const ours = readProto('older-clients.proto')
  const known = bundle.rpcs('modal.client.ModalClient')
  const names = [...Object.keys(ours.rpcs), ...Object.keys(ours.messages)]
  t.same(names.filter((name) => known[name] === undefined && !bundle.has(name)), gone)
  for (const [message, fields] of Object.entries(ours.messages)) {
    if (bundle.has(message)) t.same(bundle.fields(message), fields, message)
  }
})

t.test('every RPC that is refused by name exists in the installed SDK, and none is answered, too', async (t) => {
  const answered = loadServices()
  const tables = [
    { names: Object.keys(unsupported.client.definition), service: services[0]!, answered: answered.client },
    {
      names: Object.keys(unsupported.commandRouter.definition),
      service: services[1]!,
      answered: answered.commandRouter
    }
  ]
  for (const { names, service, answered } of tables) {
    const known = bundle.rpcs(service.name)
    t.same(names.filter((name) => known[name] === undefined), [])
    t.same(names.filter((name) => Object.hasOwn(answered, name)), [])
  }
})

/** Reads a `.proto` file of this repository: one message, field or RPC per line, no nesting. */
function readProto (file: string): Schema {
  const text = readFileSync(new URL(`../../../emulator/proto/${file}`, import.meta.url), 'utf8')
  const messages: Schema['messages'] = {}
  for (const [, name, body] of text.matchAll(/^message (\w+) \{\n?([^}]*)\}/gm)) {
    messages[name!] = [...body!.matchAll(/^ {2}(.+) (\w+) = (\d+);$/gm)]
      .map(([, type, field, number]) => `${type} ${camelCase(field!)} = ${number}`)
  }
  const rpcs: Schema['rpcs'] = {}
  for (const [, name, request, answer] of text.matchAll(/^ {2}rpc (\w+)\((.+)\) returns \((.+)\);$/gm)) {
    rpcs[name!] = `${request} -> ${answer}`
  }
  return { messages, rpcs }
}

/** Reads the encoders that ts-proto generated into the SDK: `writer.uint32(tag).type(...)` once per field. */
function readBundle () {
  const entry = createRequire(import.meta.url).resolve('modal')
  const text = readFileSync(join(dirname(entry), 'index.js'), 'utf8')
  const encoder = /^var (\w+) = \{\n {2}encode\(\w+, writer = new BinaryWriter\(\)\) \{\n([\s\S]*?)\n {2}\},\n {2}decode/gm
  const bodies = new Map([...text.matchAll(encoder)].map(([, name, body]) => [name!, body!]))

  const parts = (message: string) => {
    const body = bodies.get(message)
    if (body === undefined) throw new Error(`the SDK has no message ${message}`)
    const heads = [
      /for \(const v of message\.(?<repeated>\w+)\) \{/,
      /if \(message\.(?<single>\w+)(?:\.length)? !== (?<unset>[^)]*)\) \{/,
      /Object\.entries\(message\.(?<map>\w+)\)\.forEach[^\n]*/
    ]
    const call = /\s*(?:(?<type>\w+)\.encode\(\s*(?:v|message\.\w+|toTimestamp\(message\.\w+\)|\{ key, value \}),\s*)?/
    const tag = /writer\.uint32\((?<tag>\d+)\)\.(?<scalar>\w+)\(/
    const head = heads.map((part) => part.source).join('|')
    const field = new RegExp(`(?:${head})${call.source}${tag.source}`, 'g')
    const found = [...body.matchAll(field)].map((match) => match.groups!)
    if (found.length !== [...body.matchAll(/uint32\(\d+\)/g)].length) throw new Error(`can't read all of ${message}`)
    return found.map((groups) => ({ ...groups, number: Number(groups['tag']) >>> 3 }) as Record<string, any>)
      .sort((a, b) => a['number'] - b['number'])
  }
  const typeOf = (part: Record<string, any>): string => {
    const { map, type, scalar, repeated, unset } = part
    if (map) return `map<${parts(type).map(typeOf).join(', ')}>`
    if (repeated) return `repeated ${type ?? scalar}`
    return type ?? (unset === 'void 0' ? `optional ${scalar}` : scalar)
  }
  return {
    has: (message: string) => bodies.has(message),

    fields: (message: string) => parts(message).map((part) =>
      `${typeOf(part)} ${camelCase(part['map'] ?? part['repeated'] ?? part['single'])} = ${part['number']}`),

    rpcs (service: string): Schema['rpcs'] {
      const start = text.indexOf(`fullName: "${service}"`)
      const methods = text.slice(start, text.indexOf('\n};\n', start))
      const method = /name: "(\w+)",\s+requestType: (\w+),\s+requestStream: (\w+),\s+responseType: (\w+),\s+responseStream: (\w+)/g
      const stream = (flag: string | undefined) => flag === 'true' ? 'stream ' : ''
      return Object.fromEntries([...methods.matchAll(method)].map(([, name, request, requests, answer, answers]) =>
        [name!, `${stream(requests)}${request} -> ${stream(answers)}${answer}`]))
    }
  }
}

/** The SDK's names and the schema's differ in how digits and leading underscores are written; numbers decide. */
function camelCase (name: string): string {
  const words = name.replace(/_+(\w)/g, (_match, letter: string) => letter.toUpperCase())
  return words.charAt(0).toLowerCase() + words.slice(1)
}
