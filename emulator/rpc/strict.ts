import { setTimeout as sleep } from 'node:timers/promises'
import type { SandboxListMessage, SandboxTag } from '../proto/messages.js'
import { invalid, tryAgain } from '../control/status.js'
import type { Strictness } from '../strict.js'
import type { Handlers, Unary } from './adapter.js'

type Wrap = (handler: Unary) => Unary

const creates = ['SandboxCreate', 'SandboxCreateV2']
const tagging = [...creates, 'SandboxTagsSet', 'SandboxTagsSetV2']
const lists = ['SandboxList', 'SandboxListV2']

/** Every so many creates, one is slower than all others. */
const slowestEvery = 7
const slowestFactor = 10

/** The same handlers, as strict as asked for. */
export function strictly (strictness: Strictness, { unary = {}, ...streams }: Handlers): Handlers {
  const { throttle, 'slow-creates': delay, 'late-lists': lag, 'lists-of-apps': needsApp, 'few-tags': most } = strictness
  const wraps: Array<[methods: string[], wrap: Wrap | undefined]> = [
    [tagging, most === undefined ? undefined : fewTags(most)],
    [creates, delay === undefined ? undefined : slow(delay)],
    [creates, throttle === undefined ? undefined : throttled(throttle)],
    [lists, lag === undefined ? undefined : late(lag)],
    [lists, needsApp === undefined ? undefined : ofOneApp]
  ]
  const strict = { ...unary }
  for (const [methods, wrap] of wraps) {
    for (const method of methods) if (wrap !== undefined) strict[method] = wrap(strict[method]!)
  }
  return { unary: strict, ...streams }
}

/** How many tags Modal takes is not documented. */
function fewTags (most: number): Wrap {
  return (handler) => (request: { tags: SandboxTag[] }, context) => {
    if (request.tags.length > most) throw invalid(`A sandbox may have ${most} tags, got ${request.tags.length}`)
    return handler(request, context)
  }
}

/**
 * A client that no longer waits may have got a sandbox, or may get one later: the delay is after the work, and before
 * it, in turn.
 */
function slow (milliseconds: number): Wrap {
  let count = 0
  return (handler) => async (request, context) => {
    count++
    const delay = sleep(count % slowestEvery === 0 ? milliseconds * slowestFactor : milliseconds)
    if (count % 2 === 0) await delay
    const answer = await handler(request, context)
    await delay
    return answer
  }
}

/** A bucket with as many tokens as it gets in a second. */
function throttled (perSecond: number): Wrap {
  let tokens = perSecond
  let filledAt = performance.now()
  return (handler) => (request, context) => {
    const now = performance.now()
    tokens = Math.min(perSecond, tokens + (now - filledAt) / 1000 * perSecond)
    filledAt = now
    if (tokens < 1) throw tryAgain(`Sandboxes are created faster than ${perSecond} a second`, (1 - tokens) / perSecond)
    tokens--
    return handler(request, context)
  }
}

const ofOneApp: Wrap = (handler) => (request: SandboxListMessage, context) => {
  if (request.appId === '') throw invalid('A list of sandboxes needs the id of an app')
  return handler(request, context)
}

/** Pages go back in time: they begin a moment ago. */
function late (milliseconds: number): Wrap {
  return (handler) => (request: SandboxListMessage, context) => {
    const before = (Date.now() - milliseconds) / 1000
    const beforeTimestamp = request.beforeTimestamp === 0 ? before : Math.min(before, request.beforeTimestamp)
    return handler({ ...request, beforeTimestamp }, context)
  }
}
