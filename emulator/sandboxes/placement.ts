import { invalid } from '../control/status.js'
import type { SandboxDefinition } from '../proto/messages.js'

const clouds = new Set(['auto', 'aws', 'azure', 'gcp', 'oci'])

/** Regions as Modal and the clouds write them: `us`, `us-east`, `us-east-1`, `us-east1`; cities, too. */
const region = new RegExp([
  '^(?:(?:us|eu|ap|uk|ca|me|sa|af|mx|il|jp|au|in|asia|europe|northamerica|southamerica|australia|africa)',
  '(?:-(?:north|south|east|west|central)?(?:east|west|central)?(?:-?\\d{1,2})?)?',
  '|(?:us|eu|ap|uk|ca|me|sa|af|mx|il)-(?:ashburn|phoenix|chicago|sanjose|frankfurt|amsterdam|stockholm|paris|marseille',
  '|milan|madrid|zurich|london|newport|tokyo|osaka|seoul|chuncheon|mumbai|hyderabad|singapore|sydney|melbourne|toronto|montreal',
  '|dubai|jeddah|saopaulo|vinhedo|santiago|johannesburg|jerusalem|queretaro|monterrey)(?:-\\d)?',
  '|(?:east|west|north|south|central|northcentral|southcentral|westcentral)us\\d?|(?:north|west)europe|uk(?:south|west))$'
].join(''))

/** @throws {StatusError} INVALID_ARGUMENT for a name that no cloud or region has */
export function checkPlacement ({ cloudProviderStr, schedulerPlacement }: SandboxDefinition): void {
  if (cloudProviderStr !== '' && !clouds.has(cloudProviderStr.toLowerCase())) {
    throw invalid(`Invalid cloud: ${cloudProviderStr}. Must be one of ${[...clouds].join(', ')}`)
  }
  const unknown = schedulerPlacement?.regions.find((name) => name.endsWith('-') || !region.test(name))
  if (unknown !== undefined) throw invalid(`Invalid region: ${unknown}`)
}

/** What is said about a valid choice of a place. */
export function placementWarnings (definition: SandboxDefinition): string[] {
  const { cloudProvider, cloudProviderStr, schedulerPlacement } = definition
  const chosen = [
    ...cloudProviderStr === '' && cloudProvider === 0 ? [] : [`cloud ${cloudProviderStr || cloudProvider}`],
    ...schedulerPlacement?.regions.length ? [`region ${schedulerPlacement.regions.join(', ')}`] : []
  ]
  if (chosen.length === 0) return []
  return [`The local emulator runs sandboxes on this machine: ${chosen.join(' and ')} has no effect, ` +
    'and was not checked against what Modal offers']
}
