// What a session is given by the test that starts it, as environment variables.
import path from "node:path";

const given = (name) => {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: the sessions are started by pytest -m editor`);
  }
  return value;
};

export const HERE = import.meta.dirname;
export const REPOSITORY = path.resolve(HERE, "../../..");
/** Screenshots and logs: never committed. */
export const ARTIFACTS = path.join(REPOSITORY, ".cache/editors/artifacts");
/** The package that ships. */
export const VSIX = () => given("FUSELIGHT_VSIX");
/** An interpreter that has fuselight. */
export const PYTHON = () => given("FUSELIGHT_PYTHON");
/** The interpreter that virtual environments are made with. */
export const BASE_PYTHON = () => given("FUSELIGHT_BASE_PYTHON");
/** A directory of wheels: fuselight's and all that it needs. */
export const WHEELS = () => given("FUSELIGHT_WHEELS");
/** A package that answers as Microsoft's Python extension does. */
export const PYTHON_EXTENSION = () => given("FUSELIGHT_PYTHON_EXTENSION");
export const CHROMIUM = () => given("FUSELIGHT_CHROMIUM");
