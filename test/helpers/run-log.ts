import { LogParser, type ParsedEvent } from '../../services/runs/log-parser.js'
import type { AskedRecord, EndedRecord, ResolvedRecord, StartedRecord } from '../../services/runs/records.js'

export const run = `run_${'1'.repeat(20)}`
export const started: StartedRecord = {
  record: 'started', run, sandboxId: 'sb-1', sessionId: null, startedAt: '2026-01-01T00:00:00.000Z', prompt: 'x', format: 'stream-json', onDisconnect: 'terminate', timeoutMs: 1000
}
export const ended: EndedRecord = { record: 'ended', run, exitCode: 0, stop: '', durationMs: 5 }
export const asked: AskedRecord = {
  record: 'asked', run, at: 1_700_000_000, timeoutMs: 60_000, request: { request_id: 'a-1', request: { tool_name: 'Bash', input: { command: 'x' } } }
}
export const resolved: ResolvedRecord = { record: 'resolved', run, id: 'a-1', decision: 'deny', by: 'deadline' }

/** The events that some output becomes, arriving in chunks of a size. */
export function eventsOf (output: Buffer, size = output.length, format: 'stream-json' | 'text' = 'stream-json', secrets: string[] = [], offset = 0) {
  const parser = new LogParser({ run, format, secrets, offset })
  const events: ParsedEvent[] = []
  for (let at = 0; at < output.length; at += size) events.push(...parser.push(output.subarray(at, at + size)))
  events.push(...parser.finish())
  return events
}

/** What the events of plain output say. */
export function textOf (events: ParsedEvent[]): string {
  return events.map(({ event, json }) => event === 'output' ? JSON.parse(json).text : '').join('')
}
