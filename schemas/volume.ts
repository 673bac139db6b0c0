import { Type, type Static } from '@sinclair/typebox'
import { Timestamp } from './common.js'

/** Any text: a malformed name is treated like an unknown one. */
export const VolumeParams = Type.Object({ name: Type.String() })

export const VolumeView = Type.Object({
  name: Type.String(),
  version: Type.Union([Type.Literal(1), Type.Literal(2)], { description: 'Of Modal\'s volume file system.' }),
  createdAt: Timestamp,
  sandboxes: Type.Array(Type.String(), { description: 'Ids of the running sandboxes that mount it.' })
})
export type VolumeView = Static<typeof VolumeView>

export const VolumeList = Type.Object({ volumes: Type.Array(VolumeView) })

export const DeletedVolume = Type.Object({ name: Type.String(), deleted: Type.Boolean() })

export const ReloadedVolume = Type.Object({ name: Type.String(), mountPath: Type.String(), reloadedAt: Timestamp })
export type ReloadedVolume = Static<typeof ReloadedVolume>
