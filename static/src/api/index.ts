export * from "./events";
export * from "./model";
export * from "./problem";
export * from "./relay";
