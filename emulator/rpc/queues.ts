import { checkName, environmentOf } from '../control/environments.js'
import { objectId } from '../control/ids.js'
import type { QueueRecord, State } from '../control/state.js'
import { invalid, notFound, unimplemented } from '../control/status.js'
import { creation } from '../proto/messages.js'
import type { Handlers } from './adapter.js'

interface QueueMessage { deploymentName: string, environmentName: string, objectCreationType: number }
interface PutMessage { queueId: string, values: Buffer[], partitionKey: Buffer, partitionTtlSeconds: number }
interface LenMessage { queueId: string, partitionKey: Buffer, total: boolean }

const week = 7 * 24 * 60 * 60

/** Named queues whose items are counted: what an item holds can't be read again. */
export function queueHandlers (state: State): Handlers {
  return {
    unary: {
      async QueueGetOrCreate ({ deploymentName: name, environmentName, objectCreationType }: QueueMessage) {
        if (objectCreationType === creation.ephemeral) throw unimplemented('a queue needs a name')
        const environment = environmentOf(state, environmentName)
        let queue = state.records.queues.find((queue) => queue.name === name && queue.environment === environment)
        if (!queue) {
          if (objectCreationType !== creation.createIfMissing) throw notFound(`Queue '${name}' not found`)
          queue = { id: objectId('qu'), name: checkName(name, 'Queue'), environment, partitions: {} }
          state.records.queues.push(queue)
          await state.save()
        }
        return { queueId: queue.id, metadata: { name } }
      },

      async QueueDelete ({ queueId }: { queueId: string }) {
        const queue = byId(queueId)
        state.records.queues = state.records.queues.filter((other) => other !== queue)
        await state.save()
        return {}
      },

      async QueuePut ({ queueId, values, partitionKey, partitionTtlSeconds }: PutMessage) {
        if (partitionTtlSeconds < 1 || partitionTtlSeconds > week) throw invalid('A partition lives a week at most')
        const queue = byId(queueId)
        const key = partitionKey.toString('hex')
        forgetExpired(queue)
        const items = (queue.partitions[key]?.items ?? 0) + values.length
        queue.partitions[key] = { items, expiresAt: Date.now() + partitionTtlSeconds * 1000 }
        await state.save()
        return {}
      },

      QueueLen ({ queueId, partitionKey, total }: LenMessage) {
        const { partitions } = forgetExpired(byId(queueId))
        const counted = total ? Object.values(partitions) : [partitions[partitionKey.toString('hex')]]
        return { len: counted.reduce((sum, partition) => sum + (partition?.items ?? 0), 0) }
      }
    }
  }

  function byId (id: string): QueueRecord {
    const queue = state.records.queues.find((queue) => queue.id === id)
    if (queue) return queue
    throw notFound(`Queue with ID ${id} not found`)
  }
}

function forgetExpired (queue: QueueRecord): QueueRecord {
  for (const [key, { expiresAt }] of Object.entries(queue.partitions)) {
    if (expiresAt <= Date.now()) delete queue.partitions[key]
  }
  return queue
}
