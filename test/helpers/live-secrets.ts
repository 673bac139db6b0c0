import { ModalClient } from 'modal'

/** As the wire has it: an error when there is one of that name. */
const failIfExists = 2

/**
 * Named secrets at Modal, where the emulator would have them from its configuration.
 * @returns what deletes them.
 * @throws what Modal says, also when there is one of that name: it is somebody else's, and stays as it is.
 */
export async function makeSecrets (secrets: Record<string, Record<string, string>>): Promise<() => Promise<void>> {
  const client = new ModalClient()
  const made: string[] = []
  const remove = async () => {
    await Promise.all(made.map((name) => client.secrets.delete(name, { allowMissing: true })))
    client.close()
  }
  try {
    for (const [deploymentName, envDict] of Object.entries(secrets)) {
      await client.cpClient.secretGetOrCreate({
        deploymentName, envDict, objectCreationType: failIfExists, environmentName: client.environmentName()
      })
      made.push(deploymentName)
    }
    return remove
  } catch (error) {
    await remove()
    throw error
  }
}
