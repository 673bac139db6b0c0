export type Tags = Record<string, string>

/** SandboxTag of Modal's protocol. */
export interface WireTag { tagName: string, tagValue: string }

/** As the SDK has them. */
export function tagsOf (tags: WireTag[]): Tags {
  return Object.fromEntries(tags.map(({ tagName, tagValue }) => [tagName, tagValue]))
}
