import { EventEmitter, once } from 'node:events'
import { checkName, environmentOf } from '../control/environments.js'
import { objectId } from '../control/ids.js'
import type { QueuePartition, QueueRecord, State } from '../control/state.js'
import { invalid, notFound, resourceExhausted } from '../control/status.js'
import { creation } from '../proto/messages.js'
import { type Context, type Handlers, settledWithin } from './adapter.js'
import { EphemeralQueues } from './ephemeral-queues.js'

interface QueueMessage { deploymentName: string, environmentName: string, objectCreationType: number }
interface PutMessage { queueId: string, values: Buffer[], partitionKey: Buffer, partitionTtlSeconds: number }
interface LenMessage { queueId: string, partitionKey: Buffer, total: boolean }
interface GetMessage { queueId: string, timeout: number, nValues: number, partitionKey: Buffer }
interface NextItemsMessage { queueId: string, partitionKey: Buffer, lastEntryId: string, itemPollTimeout: number }
interface ClearMessage { queueId: string, partitionKey: Buffer, allPartitions: boolean }

const week = 7 * 24 * 60 * 60
/** As Modal's documentation has it. */
const limits = { items: 5000, itemBytes: 1024 * 1024 }
const pageSize = 100

/** Queues, whose partitions expire. */
export function queueHandlers (state: State): Handlers {
  const ephemeral = new EphemeralQueues()
  const changes = new EventEmitter().setMaxListeners(0)

  return {
    unary: {
      async QueueGetOrCreate ({ deploymentName: name, environmentName, objectCreationType }: QueueMessage) {
        const environment = environmentOf(state, environmentName)
        if (objectCreationType === creation.ephemeral) return { queueId: ephemeral.add(environment).id }
        let queue = state.records.queues.find((queue) => queue.name === name && queue.environment === environment)
        if (!queue) {
          if (objectCreationType !== creation.createIfMissing) throw notFound(`Queue '${name}' not found`)
          queue = { id: objectId('qu'), name: checkName(name, 'Queue'), environment, partitions: {} }
          state.records.queues.push(queue)
          await state.save()
        }
        return { queueId: queue.id, metadata: { name } }
      },

      QueueHeartbeat ({ queueId }: { queueId: string }) {
        if (!ephemeral.heard(queueId)) byId(queueId)
        return {}
      },

      async QueueDelete ({ queueId }: { queueId: string }) {
        const queue = byId(queueId)
        ephemeral.delete(queueId)
        state.records.queues = state.records.queues.filter((other) => other !== queue)
        await state.save()
        return {}
      },

      async QueuePut ({ queueId, values, partitionKey, partitionTtlSeconds }: PutMessage) {
        if (partitionTtlSeconds < 1 || partitionTtlSeconds > week) throw invalid('A partition lives a week at most')
        if (values.some(({ length }) => length > limits.itemBytes)) throw invalid('An item has 1 MiB at most')
        const queue = byId(queueId)
        const { items, taken } = partitionOf(queue, partitionKey)
        if (items.length + values.length > limits.items) throw resourceExhausted(`A partition has ${limits.items} items at most`)
        queue.partitions[partitionKey.toString('hex')] = {
          items: [...items, ...values.map((value) => value.toString('base64'))],
          taken,
          expiresAt: Date.now() + partitionTtlSeconds * 1000
        }
        await state.save()
        changes.emit('put')
        return {}
      },

      QueueLen ({ queueId, partitionKey, total }: LenMessage) {
        const queue = byId(queueId)
        const counted = total ? Object.values(queue.partitions) : [partitionOf(queue, partitionKey)]
        return { len: counted.reduce((sum, { items }) => sum + items.length, 0) }
      },

      async QueueGet ({ queueId, timeout, nValues, partitionKey }: GetMessage, { signal }: Context) {
        const hasSome = () => partitionOf(byId(queueId), partitionKey).items.length > 0
        await until(hasSome, timeout, signal)
        if (signal.aborted || !hasSome()) return { values: [] }
        const partition = partitionOf(byId(queueId), partitionKey)
        const values = partition.items.splice(0, Math.max(nValues, 1)).map((item) => Buffer.from(item, 'base64'))
        partition.taken += values.length
        await state.save()
        return { values }
      },

      async QueueNextItems (
        { queueId, partitionKey, lastEntryId, itemPollTimeout }: NextItemsMessage, { signal }: Context
      ) {
        const after = lastEntryId === '' ? 0 : Number(lastEntryId)
        if (!Number.isSafeInteger(after)) throw invalid(`No entry is called ${lastEntryId}`)
        const next = () => {
          const { items, taken } = partitionOf(byId(queueId), partitionKey)
          const from = Math.max(0, after - taken)
          return items.slice(from, from + pageSize).map((item, index) => {
            return { value: Buffer.from(item, 'base64'), entryId: String(taken + from + index + 1) }
          })
        }
        await until(() => next().length > 0, itemPollTimeout, signal)
        return { items: next() }
      },

      async QueueClear ({ queueId, partitionKey, allPartitions }: ClearMessage) {
        const queue = byId(queueId)
        if (allPartitions) queue.partitions = {}
        else delete queue.partitions[partitionKey.toString('hex')]
        await state.save()
        return {}
      }
    }
  }

  /** Waits until the condition holds, or for so many seconds. */
  async function until (condition: () => boolean, seconds: number, signal: AbortSignal) {
    const end = Date.now() + seconds * 1000
    while (!condition() && !signal.aborted && Date.now() < end) {
      const waiting = new AbortController()
      await settledWithin(once(changes, 'put', { signal: waiting.signal }), end - Date.now(), signal)
      waiting.abort()
    }
  }

  function byId (id: string): QueueRecord {
    const queue = ephemeral.get(id) ?? state.records.queues.find((queue) => queue.id === id)
    if (queue) return forgetExpired(queue)
    throw notFound(`Queue with ID ${id} not found`)
  }
}

function partitionOf ({ partitions }: QueueRecord, key: Buffer): QueuePartition {
  return partitions[key.toString('hex')] ?? { items: [], taken: 0, expiresAt: 0 }
}

function forgetExpired (queue: QueueRecord): QueueRecord {
  for (const [key, { expiresAt }] of Object.entries(queue.partitions)) {
    if (expiresAt <= Date.now()) delete queue.partitions[key]
  }
  return queue
}
