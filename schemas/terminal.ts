import { Type, type Static } from '@sinclair/typebox'
import { strict } from './common.js'

const Columns = Type.Integer({ minimum: 2, maximum: 1000 })
const Rows = Type.Integer({ minimum: 2, maximum: 1000 })

export const TerminalQuery = Type.Object({
  columns: Type.Integer({ ...Columns, default: 80 }),
  rows: Type.Integer({ ...Rows, default: 24 }),
  terminalId: Type.Optional(Type.String({
    pattern: '^term_[a-z0-9]{1,40}$', description: 'Go on with this terminal instead of opening one.'
  })),
  from: Type.Integer({ minimum: 0, default: 0, description: 'With terminalId: how many bytes of its output are known.' })
}, strict)
export type TerminalQuery = Static<typeof TerminalQuery>

/** What a client sends as text; binary messages are input. */
export const TerminalRequest = Type.Union([
  Type.Object({ type: Type.Literal('resize'), columns: Columns, rows: Rows }, strict),
  Type.Object({ type: Type.Literal('end') }, strict)
])
export type TerminalRequest = Static<typeof TerminalRequest>

/** In characters. */
export interface TerminalSize { columns: number, rows: number }

/** What the server sends as text; binary messages are output. */
export type TerminalMessage =
  /** `from`: the position of the output that follows; later than asked for when some is no longer known. */
  | { type: 'open', terminalId: string, from: number }
  | { type: 'exit', exitCode: number }
  | { type: 'error', code: string, message: string, hint: string }
