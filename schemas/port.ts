import { Type, type Static } from '@sinclair/typebox'

const Port = Type.Integer({ minimum: 1, maximum: 65_535 })

export const PortParams = Type.Object({ id: Type.String(), port: Port })

export const OpenPort = Type.Object({ port: Port })
export type OpenPort = Static<typeof OpenPort>

export const OpenPorts = Type.Object({ ports: Type.Array(OpenPort) }, {
  description: 'On which programs in the sandbox listen, as the sandbox itself says.'
})

export const PortAccess = Type.Object({
  port: Port,
  url: Type.String({ description: 'Where requests go; they need the token.' }),
  token: Type.String({ description: 'As Authorization: Bearer <token>; good for this port, as long as the sandbox lives.' }),
  link: Type.String({ description: 'The URL with the token in it, to be opened in a browser. Keep it as secret as the token.' })
})
export type PortAccess = Static<typeof PortAccess>
