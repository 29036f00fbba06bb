export * from "./events";
export * from "./model";
export * from "./problem";
export * from "./relay";
export { proveWith, type Change } from "./request";
