import type { State } from './state.js'
import { invalid, notFound } from './status.js'

const namePattern = /^[a-zA-Z0-9\-_.]{1,64}$/
const appIdPattern = /^ap-[a-zA-Z0-9]{22}$/

/** Accepts the names of apps, volumes, sandboxes and environments that the SDK accepts. */
export function checkName (name: string, kind: string): string {
  if (namePattern.test(name) && !appIdPattern.test(name)) return name
  throw invalid(`Invalid ${kind} name: '${name}'. Names may contain only alphanumeric characters, dashes, periods, and underscores, must be shorter than 64 characters, and cannot conflict with App ID strings.`)
}

/** The environment a request names; `main` when it names none. @throws {StatusError} NOT_FOUND */
export function environmentOf (state: State, name: string): string {
  const environment = name === '' ? 'main' : name
  if (state.records.environments.includes(environment)) return environment
  throw notFound(`Environment '${environment}' not found`)
}
